"""Safe reading of files written by others: regular files only, up to a size limit.

Opening a FIFO blocks until somebody writes to it, opening a device may have effects, and a file may be larger than the
memory. Symbolic links are followed: Kubernetes mounts its volumes by them.
"""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path


def open_regular(path: Path) -> BufferedReader:
    """The file, opened for reading; raises OSError if that fails or it is not a regular file."""
    _require_regular(path.stat(), path)  # first, because opening a device may have effects
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    file = open(descriptor, "rb")  # noqa: PTH123, SIM115  # a descriptor; the caller closes it
    try:
        _require_regular(os.fstat(descriptor), path)  # again, as it may have been replaced meanwhile
    except OSError:
        file.close()
        raise
    return file


def read_regular(path: Path, max_bytes: int) -> bytes:
    """The content, up to ``max_bytes`` bytes; raises OSError as ``open_regular``, and if the file is larger."""
    with open_regular(path) as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise OSError(errno.EFBIG, f"it is larger than the {max_bytes} bytes that are read", str(path))
    return content


def is_git_lfs_pointer(path: Path) -> bool:
    """True if a regular file holds what Git LFS leaves in a clone instead of the content."""
    with open_regular(path) as file:
        return file.read(len(_GIT_LFS)) == _GIT_LFS


def _require_regular(found: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}, not a regular file", str(path))


_GIT_LFS = b"version https://git-lfs.github.com/spec/"
GIT_LFS_ADVICE = "it is a pointer of Git LFS, not the content; `git lfs pull` fetches that"
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}
