"""Reading files that somebody else has put there: only regular ones, and only so much of them.

To open a FIFO waits for ever for whoever writes into it, a device may do anything, and a file may be larger than the
memory. Symbolic links are followed: Kubernetes mounts its volumes by them.
"""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path


def open_regular(path: Path) -> BufferedReader:
    """The file, opened to be read; raises OSError where it cannot be, or is no regular file."""
    _require_regular(path.stat(), path)  # first, because to open a device may do something
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    file = open(descriptor, "rb")  # noqa: PTH123, SIM115  # a descriptor; whoever asked closes it
    try:
        _require_regular(os.fstat(descriptor), path)  # again, because it may have been replaced meanwhile
    except OSError:
        file.close()
        raise
    return file


def read_regular(path: Path, most: int) -> bytes:
    """The content, up to ``most`` bytes; raises OSError as ``open_regular``, and where it is larger."""
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it is larger than the {most} bytes that are read", str(path))
    return content


def _require_regular(found: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}, not a regular file", str(path))


_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}
