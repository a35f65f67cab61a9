"""How many cores this process may really use: its affinity mask, capped by the container's quota.

cgroup v2 keeps the quota in ``cpu.max`` ("max 100000" or "150000 100000"), v1 in ``cpu.cfs_quota_us`` (-1: none) and
``cpu.cfs_period_us``, both in microseconds. A parent's quota binds its children, so every group up to the root counts.
"""

import math
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from emo_serve.engine.host.cgroups import smallest_limit


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
    return smallest_limit(root, "cpu", _quota_v2, _quota_v1)


def _cpu_name(root: Path) -> str:
    try:
        lines = (root / "proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())  # on ARM there is no such line


def _quota_v2(folder: Path) -> float | None:
    quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
    return None if quota == "max" else int(quota) / int(period)


def _quota_v1(folder: Path) -> float | None:
    quota = int((folder / "cpu.cfs_quota_us").read_text(encoding="utf-8"))
    period = int((folder / "cpu.cfs_period_us").read_text(encoding="utf-8"))
    return quota / period if quota > 0 else None
