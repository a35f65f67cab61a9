"""How much memory the server may use, and giving back what ended models leave behind.

It may use what its container allows, else what the machine has.

cgroup v2 keeps the limit in ``memory.max`` ("max": none), v1 in ``memory.limit_in_bytes`` (a huge number: none).
"""

import ctypes
import os
from pathlib import Path

from emo_serve.engine.host.cgroups import smallest_limit


def memory_limit(root: Path = Path("/")) -> float:
    """Bytes that all processes together may use; ``root`` is where ``proc`` and ``sys`` are found."""
    physical = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    limit = smallest_limit(root, "memory", _limit_v2, _limit_v1)
    return physical if limit is None else min(physical, limit)


def _limit_v2(folder: Path) -> float | None:
    limit = (folder / "memory.max").read_text(encoding="utf-8").strip()
    return None if limit == "max" else float(limit)


def _limit_v1(folder: Path) -> float | None:
    return float((folder / "memory.limit_in_bytes").read_text(encoding="utf-8"))


def give_back() -> None:
    """Let the C library return its free pages; takes milliseconds, and belongs into a thread.

    glibc keeps what was freed for later, in arenas of which each thread fills its own: loaded and retired models would
    seem to pile up, although what is kept is bounded. Other C libraries have no such call and nothing is done.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
