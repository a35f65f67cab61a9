"""The thread that loads models."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class LoadThread:
    """One thread that loads all models, one after another.

    The C library gives each thread a part of the heap. Models that any thread loads leave holes in all parts when they
    are released, and a process whose models are swapped again and again grows by a tenth in 100 swaps; those of one
    thread fill the holes of each other.
    """

    def __init__(self) -> None:
        """The thread begins with the first model."""
        self._thread = _new()

    async def run(self, load: Callable[[], T]) -> T:
        """Return ``load()``; a cancelled one that goes on for ever is left behind, and a new thread loads the next."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, load)
        except asyncio.CancelledError:
            self._thread.shutdown(wait=False, cancel_futures=True)
            self._thread = _new()
            raise

    def close(self) -> None:
        """End the thread when its present work is done."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _new() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="load")
