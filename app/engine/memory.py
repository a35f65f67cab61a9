"""Memory that ended models leave behind, given back to the system."""

import ctypes


def give_back() -> None:
    """Let the C library return its free pages; takes milliseconds, and belongs into a thread.

    glibc keeps what was freed for later, in arenas of which each thread fills its own: loaded and retired models would
    seem to pile up, although what is kept is bounded. Other C libraries have no such call and nothing is done.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
