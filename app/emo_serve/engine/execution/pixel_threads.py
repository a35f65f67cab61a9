"""The threads that work on pixels: decoding, preprocessing, postprocessing, drawing; bounded, shared by all models."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

from emo_serve.errors import InferenceFailed, ServiceError

Ts = TypeVarTuple("Ts")
T = TypeVar("T")


class PixelThreads:
    """A thread pool whose queue can be left at no cost."""

    def __init__(self, threads: int) -> None:
        """Work on at most ``threads`` pictures at a time, which also bounds the memory for decoded ones."""
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="pixels")
        self._free = asyncio.Semaphore(threads)

    async def run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Return ``function(*args)``, called when a thread is free; cancelled before that, it is never called.

        Raises the ServiceErrors of ``function``; any other exception comes as InferenceFailed.
        """
        async with self._free:
            return await self.run_first(function, *args)

    async def run_first(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Like ``run``, ahead of all that wait: for the short last step of an almost finished image."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, guarded, function, *args)

    def close(self) -> None:
        """End the threads when their present work is done; what waits is cancelled."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def guarded(function: Callable[[*Ts], T], *args: *Ts) -> T:
    """``function(*args)``; what it raises beside ServiceErrors comes as InferenceFailed."""
    try:
        return function(*args)
    except ServiceError:
        raise
    except BaseException as error:
        raise internal_error(error) from error


def internal_error(error: BaseException) -> InferenceFailed:
    """The InferenceFailed for an unexpected exception of a step.

    BaseExceptions too: a future cannot hold StopIteration, and SystemExit must not end the server.
    """
    failure = InferenceFailed("the image could not be processed because of an internal error")
    failure.__cause__ = error
    return failure
