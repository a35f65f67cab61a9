"""Processes of a running job, by what Linux says about them."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from tests.support import PATIENCE_SECONDS

_LISTENING = "0A"
_LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}


def descendants(pid: int) -> set[int]:
    """All processes that a process has started, and those that they have."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def actors(pid: int) -> list[int]:
    """Those of the descendants that compute shards."""
    return [child for child in descendants(pid) if "_ShardActor" in _command(child)]


def addresses_listened_on(pids: set[int]) -> Iterator[str]:
    """The local addresses, as in /proc/net/tcp, on which one of the processes accepts connections."""
    inodes = {inode for pid in pids for inode in _sockets(pid)}
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENING and fields[9] in inodes:
                yield fields[1]


def is_loopback(address: str) -> bool:
    return address.partition(":")[0] in _LOOPBACK


def wait_for(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 6 * PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    return ""


def _sockets(pid: int) -> Iterator[str]:
    with suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                target = os.readlink(entry.path)  # noqa: PTH115  # a Path for each would be slow
                if target.startswith("socket:["):
                    yield target[8:-1]
