"""How the command ends: its exit statuses, and without waiting for anybody."""

import os
import sys
from typing import NoReturn

EXIT_OK = 0
EXIT_STARTUP = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def leave(status: int) -> NoReturn:
    """End the process once all is done: Python would wait for threads that compute on, perhaps for ever."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
