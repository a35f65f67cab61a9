"""The machine as this process may use it: cores, memory, priorities of threads.

A container's control groups bound cores and memory; a parent's limit binds its children, so every group up to the root
counts. cgroup v2 keeps the quota in ``cpu.max`` ("max 100000" or "150000 100000"), v1 in ``cpu.cfs_quota_us`` (-1:
none) and ``cpu.cfs_period_us``, in microseconds. v2 keeps the memory in ``memory.max`` ("max": none), v1 in
``memory.limit_in_bytes`` (a huge number: none).
"""

import ctypes
import math
import os
import platform
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PRIORITY_STEPS = 10  # of niceness: beside a thread of the process's own priority a lowered one gets a tenth of a core

_Read = Callable[[Path], float | None]  # a limit, or None where the group sets none; raises OSError or ValueError


@dataclass(frozen=True, slots=True)
class Machine:
    """What this process may compute with."""

    cpu: str
    cores: int
    quota: float | None  # in cores


def this_machine(root: Path = Path("/")) -> Machine:
    """The CPU, by the name it gives itself, the cores to plan threads for, and the quota that binds them."""
    return Machine(_cpu_name(root), usable_cores(root), cgroup_quota(root))


def usable_cores(root: Path = Path("/")) -> int:
    """Cores to plan threads for, at least 1; a quota of 1.5 cores counts as 2.

    ``root`` is where ``proc`` and ``sys`` are found.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_quota(root)
    return affinity if quota is None else max(1, min(affinity, math.ceil(quota)))


def cgroup_quota(root: Path = Path("/")) -> float | None:
    """The smallest CPU quota of this process's control groups in cores; None where there is none."""
    return _smallest_limit(root, "cpu", _cpu_quota_v2, _cpu_quota_v1)


def _cpu_name(root: Path) -> str:
    try:
        lines = (root / "proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())  # on ARM there is no such line


def _cpu_quota_v2(folder: Path) -> float | None:
    quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
    return None if quota == "max" else int(quota) / int(period)


def _cpu_quota_v1(folder: Path) -> float | None:
    quota = int((folder / "cpu.cfs_quota_us").read_text(encoding="utf-8"))
    period = int((folder / "cpu.cfs_period_us").read_text(encoding="utf-8"))
    return quota / period if quota > 0 else None


def memory_limit(root: Path = Path("/")) -> float:
    """Bytes that all processes together may use; ``root`` is where ``proc`` and ``sys`` are found."""
    physical = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    limit = _smallest_limit(root, "memory", _memory_limit_v2, _memory_limit_v1)
    return physical if limit is None else min(physical, limit)


def _memory_limit_v2(folder: Path) -> float | None:
    limit = (folder / "memory.max").read_text(encoding="utf-8").strip()
    return None if limit == "max" else float(limit)


def _memory_limit_v1(folder: Path) -> float | None:
    return float((folder / "memory.limit_in_bytes").read_text(encoding="utf-8"))


def trim_heap() -> None:
    """Let the C library return its free pages; takes milliseconds, and belongs into a thread.

    glibc keeps what was freed for later, in arenas of which each thread fills its own: loaded and retired models would
    seem to pile up, although what is kept is bounded. Other C libraries have no such call and nothing is done.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def lower_priority() -> None:
    """Let every other thread of the process go before the calling one, for good; without effect but on Linux.

    A core that nobody else wants is used as before. May be called again and again.
    """
    if sys.platform == "linux":  # elsewhere threads have no priority of their own
        own = os.getpriority(os.PRIO_PROCESS, os.getpid())
        with suppress(OSError):  # a sandbox may forbid it
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(19, own + _PRIORITY_STEPS))


def _smallest_limit(root: Path, controller: str, read_v2: _Read, read_v1: _Read) -> float | None:
    """The smallest limit of this process's control groups up to the root; None where there is none.

    ``root`` is where ``proc`` and ``sys`` are found.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    limits: list[float] = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:
            limits += _limits(root / "sys/fs/cgroup", group, read_v2)
        elif controller in controllers.split(","):
            for mount in (controllers, controller):
                limits += _limits(root / "sys/fs/cgroup" / mount, group, read_v1)
    return min(limits, default=None)


def _limits(mount: Path, group: str, read: _Read) -> Iterator[float]:
    """The limits of the group and its parents; in a container the group's own path is often not mounted."""
    inside = Path(group.lstrip("/"))
    for folder in (inside, *inside.parents):
        try:
            limit = read(mount / folder)
        except (OSError, ValueError):
            continue
        if limit is not None:
            yield limit
