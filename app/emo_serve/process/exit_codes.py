"""Exit statuses of the command, and exit without waiting for threads."""

import os
import sys
from typing import NoReturn

EXIT_OK = 0
EXIT_STARTUP = 1
EXIT_USAGE = 2
EXIT_FAILED_INPUTS = 3
EXIT_INTERRUPTED = 130


def leave(status: int) -> NoReturn:
    """Exit at once: Python would wait for threads that still compute, perhaps for ever."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
