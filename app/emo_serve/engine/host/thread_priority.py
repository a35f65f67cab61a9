"""Which threads go first where there are more of them than cores."""

import os
import sys
import threading
from contextlib import suppress

_STEPS = 10  # of niceness: beside a thread of the process's own priority a lowered one gets a tenth of a core


def lower_priority() -> None:
    """Let every other thread of the process go before the calling one, for good; without effect but on Linux.

    A core that nobody else wants is used as before. May be called again and again.
    """
    if sys.platform == "linux":  # elsewhere threads have no priority of their own
        own = os.getpriority(os.PRIO_PROCESS, os.getpid())
        with suppress(OSError):  # a sandbox may forbid it
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(19, own + _STEPS))
