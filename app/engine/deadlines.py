"""Deadlines: moments on the event loop's clock (``loop.time()``, seconds) after which an answer is of no use."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.errors import DeadlineExceeded


@asynccontextmanager
async def before(deadline: float | None) -> AsyncIterator[None]:
    """Cancel what is awaited inside at the deadline and raise DeadlineExceeded instead; None: wait for ever."""
    try:
        async with asyncio.timeout_at(deadline) as scope:
            yield
    except TimeoutError as error:
        if not scope.expired():
            raise
        msg = "The answer did not come before the request's deadline."
        raise DeadlineExceeded(msg) from error


def seconds_left(deadline: float | None) -> float:
    """Seconds from now to the deadline, negative when it has passed; None: without end."""
    return math.inf if deadline is None else deadline - asyncio.get_running_loop().time()


def too_late() -> DeadlineExceeded:
    """What an image ends with that is not computed because its answer would come past its deadline."""
    return DeadlineExceeded("The answer could not have come before the request's deadline.")
