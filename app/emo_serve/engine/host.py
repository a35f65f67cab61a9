"""Resources that this process may use: cores, memory, thread priorities.

A container's control groups limit cores and memory; a parent's limit binds its children, so every group up to the root
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

_PRIORITY_STEPS = 10  # of niceness: in competition with a normal thread, a lowered one gets a tenth of a core

_Read = Callable[[Path], float | None]  # a limit, or None if the group has none; raises OSError or ValueError


@dataclass(frozen=True, slots=True)
class Machine:
    """The CPU resources of this process."""

    cpu: str
    cores: int
    quota: float | None  # in cores


def this_machine(root: Path = Path("/")) -> Machine:
    """The CPU's model name, the number of cores to plan threads for, and the CPU quota."""
    return Machine(_cpu_name(root), usable_cores(root), cgroup_quota(root))


def usable_cores(root: Path = Path("/")) -> int:
    """Number of cores to plan threads for, at least 1; a quota of 1.5 cores counts as 2.

    ``root`` contains ``proc`` and ``sys``.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_quota(root)
    return affinity if quota is None else max(1, min(affinity, math.ceil(quota)))


def cgroup_quota(root: Path = Path("/")) -> float | None:
    """The smallest CPU quota of this process's control groups in cores; None if there is none."""
    return _smallest_limit(root, "cpu", _cpu_quota_v2, _cpu_quota_v1)


def vector_instructions(root: Path = Path("/")) -> list[str] | None:
    """Names of the CPU's vector instructions, as in ``avx2``; None if it is no x86 CPU or does not say."""
    flags = _cpu_info(root, "flags")
    return None if flags is None else sorted(flag for flag in flags.split() if flag.startswith(("avx", "amx", "fma")))


def _cpu_name(root: Path) -> str:
    return _cpu_info(root, "model name") or platform.machine()  # ARM has no such line


def _cpu_info(root: Path, key: str) -> str | None:
    try:
        lines = (root / "proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), None)


def _cpu_quota_v2(folder: Path) -> float | None:
    quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
    return None if quota == "max" else int(quota) / int(period)


def _cpu_quota_v1(folder: Path) -> float | None:
    quota = int((folder / "cpu.cfs_quota_us").read_text(encoding="utf-8"))
    period = int((folder / "cpu.cfs_period_us").read_text(encoding="utf-8"))
    return quota / period if quota > 0 else None


def memory_limit(root: Path = Path("/")) -> float:
    """Bytes that all processes together may use; ``root`` contains ``proc`` and ``sys``."""
    physical = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    limit = _smallest_limit(root, "memory", _memory_limit_v2, _memory_limit_v1)
    return physical if limit is None else min(physical, limit)


def _memory_limit_v2(folder: Path) -> float | None:
    limit = (folder / "memory.max").read_text(encoding="utf-8").strip()
    return None if limit == "max" else float(limit)


def _memory_limit_v1(folder: Path) -> float | None:
    return float((folder / "memory.limit_in_bytes").read_text(encoding="utf-8"))


def trim_heap() -> None:
    """Return the C library's free pages to the system; takes milliseconds, so call it in a thread.

    glibc keeps freed memory in one arena per thread, so that memory would seem to grow with every model that is loaded
    and retired, although it is bounded. Other C libraries have no such call, and nothing is done.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def lower_priority() -> None:
    """Give the calling thread a lower priority than all others of the process, permanently; no effect except on Linux.

    A core that no other thread wants is used as before. May be called repeatedly.
    """
    if sys.platform == "linux":  # elsewhere threads have no individual priority
        own = os.getpriority(os.PRIO_PROCESS, os.getpid())
        with suppress(OSError):  # a sandbox may forbid it
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(19, own + _PRIORITY_STEPS))


def _smallest_limit(root: Path, controller: str, read_v2: _Read, read_v1: _Read) -> float | None:
    """The smallest limit of this process's control groups up to the root; None if there is none.

    ``root`` contains ``proc`` and ``sys``.
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
