"""How many files a process may have open, connections among them."""

import resource
from pathlib import Path


def raise_file_limit() -> None:
    """Let this process and its children have as many open files as the system lets them."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def free_files() -> int:
    """How many more this process may open."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most - len(list(Path("/dev/fd").iterdir()))
