"""Admission: a bounded count of what is under way; past the bound, refusal at once beats an answer too late."""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from app.errors import QueueFull, ShuttingDown

_RATE_SAMPLES = 64
_RATE_WINDOW_SECONDS = 10.0
_RETRY_AFTER_RANGE = (1.0, 60.0)


class Admission:
    """Counts images from acceptance to answer; used from one event loop."""

    def __init__(self, name: str, limit: int) -> None:
        """Admit up to ``limit`` images at a time for the model called ``name``."""
        self._name = name
        self._limit = limit
        self._count = 0
        self._closed = False
        self._empty = asyncio.Event()
        self._empty.set()
        self._released: deque[float] = deque(maxlen=_RATE_SAMPLES)

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Take a place for the time of the block; raises QueueFull or ShuttingDown at once, before any work."""
        if self._closed:
            msg = f"Model {self._name!r} is shutting down."
            raise ShuttingDown(msg, retry_after_seconds=_RETRY_AFTER_RANGE[0])
        if self._count >= self._limit:
            msg = f"Model {self._name!r} already has {self._count} images under way, as many as are allowed."
            raise QueueFull(msg, self._seconds_to_drain())
        with self.carry_on():
            yield

    @contextmanager
    def carry_on(self) -> Iterator[None]:
        """Take a place for more work on what was admitted before; never refused, so that a drain loses nothing."""
        self._count += 1
        self._empty.clear()
        try:
            yield
        finally:
            self._count -= 1
            self._released.append(time.monotonic())
            if not self._count:
                self._empty.set()

    def close(self) -> None:
        """Refuse all that comes from now on."""
        self._closed = True

    async def drained(self) -> None:
        """Wait until nothing is under way."""
        while self._count:
            await self._empty.wait()

    def _seconds_to_drain(self) -> float:
        """How long the present count takes at the rate of the last seconds, kept within 1 to 60."""
        now = time.monotonic()
        recent = [moment for moment in self._released if now - moment < _RATE_WINDOW_SECONDS]
        least, most = _RETRY_AFTER_RANGE
        if not recent:
            return least
        return min(max(self._count * (now - recent[0]) / len(recent), least), most)
