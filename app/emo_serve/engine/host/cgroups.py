"""The limits of the control groups that this process is in; a parent's limit binds its children."""

from collections.abc import Callable, Iterator
from pathlib import Path

Read = Callable[[Path], float | None]
"""Reads a limit from the folder of a group; None where it sets none. Raises OSError or ValueError where it has none."""


def smallest_limit(root: Path, controller: str, read_v2: Read, read_v1: Read) -> float | None:
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


def _limits(mount: Path, group: str, read: Read) -> Iterator[float]:
    """The limits of the group and its parents; in a container the group's own path is often not mounted."""
    inside = Path(group.lstrip("/"))
    for folder in (inside, *inside.parents):
        try:
            limit = read(mount / folder)
        except (OSError, ValueError):
            continue
        if limit is not None:
            yield limit
