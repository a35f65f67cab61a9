"""Deadlines: moments on the event loop's clock (``loop.time()``, seconds) after which an answer is of no use."""

import asyncio
import math
from contextlib import AbstractAsyncContextManager
from types import TracebackType

from app.errors import DeadlineExceeded


class _Before:
    __slots__ = ("_timeout",)

    def __init__(self, deadline: float | None) -> None:
        self._timeout = asyncio.timeout_at(deadline)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError as late:
            msg = "The answer did not come before the request's deadline."
            raise DeadlineExceeded(msg) from late


def before(deadline: float | None) -> AbstractAsyncContextManager[None, None]:
    """Cancel what is awaited inside at the deadline and raise DeadlineExceeded instead; None: wait for ever."""
    return _Before(deadline)


def seconds_left(deadline: float | None) -> float:
    """Seconds from now to the deadline, negative when it has passed; None: without end."""
    return math.inf if deadline is None else deadline - asyncio.get_running_loop().time()


def too_late() -> DeadlineExceeded:
    """What an image ends with that is not computed because its answer would come past its deadline."""
    return DeadlineExceeded("The answer could not have come before the request's deadline.")
