"""The process's limit on open files, connections included."""

import resource
from pathlib import Path


def raise_file_limit() -> None:
    """Raise the soft limit on open files of this process and its children to the hard limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def free_files() -> int:
    """Number of files that this process may still open."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most - len(list(Path("/dev/fd").iterdir()))
