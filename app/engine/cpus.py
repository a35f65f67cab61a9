"""How many cores this process may really use: its affinity mask, capped by the container's quota.

cgroup v2 keeps the quota in ``cpu.max`` ("max 100000" or "150000 100000"), v1 in ``cpu.cfs_quota_us`` (-1: none) and
``cpu.cfs_period_us``, both in microseconds. A parent's quota binds its children, so every group up to the root counts.
"""

import math
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


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
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    quotas: list[float] = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:
            quotas += _quotas(root / "sys/fs/cgroup", group, _quota_v2)
        elif "cpu" in controllers.split(","):
            for mount in (controllers, "cpu"):
                quotas += _quotas(root / "sys/fs/cgroup" / mount, group, _quota_v1)
    return min(quotas, default=None)


def _cpu_name(root: Path) -> str:
    try:
        lines = (root / "proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())  # on ARM there is no such line


def _quotas(mount: Path, group: str, read: Callable[[Path], float | None]) -> Iterator[float]:
    """The quotas of the group and its parents; in a container the group's own path is often not mounted."""
    inside = Path(group.lstrip("/"))
    for folder in (inside, *inside.parents):
        try:
            quota = read(mount / folder)
        except (OSError, ValueError):
            continue
        if quota is not None:
            yield quota


def _quota_v2(folder: Path) -> float | None:
    quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
    return None if quota == "max" else int(quota) / int(period)


def _quota_v1(folder: Path) -> float | None:
    quota = int((folder / "cpu.cfs_quota_us").read_text(encoding="utf-8"))
    period = int((folder / "cpu.cfs_period_us").read_text(encoding="utf-8"))
    return quota / period if quota > 0 else None
