"""Admission: what cannot be answered in time is refused before it costs anything.

An image is accepted if there is room for it and its answer is predicted to come before its deadline, given the images
under way and those ahead of it in the queue. A refusal says when there will be room.
"""

import asyncio
import math
from collections.abc import Iterator
from contextlib import contextmanager

from emo_serve.engine.scheduling.deadlines import too_late
from emo_serve.engine.scheduling.fair_queue import FairQueue
from emo_serve.engine.scheduling.job import Job, Ticket
from emo_serve.engine.scheduling.retry_schedule import RetrySchedule
from emo_serve.errors import Overloaded, QueueFull, ShuttingDown

_CAUTION = 1.2  # answers may take so many times what is predicted
_SHUTTING_DOWN_RETRY_SECONDS = 1.0
_OWN_SHARE = 7  # a client may have so many times the images that there are places free


class Admission:
    """Counts images from acceptance to answer and refuses what is too much; used from one event loop."""

    def __init__(self, name: str, limit: int, queue: FairQueue) -> None:
        """Admit up to ``limit`` images at a time for the model called ``name``."""
        self._name = name
        self._limit = limit
        self.queue = queue
        self.costs = queue.costs
        self.retry_schedule = RetrySchedule()
        self._held: dict[str, int] = {}  # client -> its images, for those that have any
        self._count = 0
        self._requests = 0
        self._closed = False
        self._loop = asyncio.get_running_loop()  # to ask for it each time costs a call of the system
        self._nobody = asyncio.Event()
        self._nobody.set()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def under_way(self) -> int:
        """Number of images that were accepted and are not answered yet."""
        return self._count

    def enter(self, client: str, request: str, deadline: float) -> Ticket:
        """Admit a request, until ``Ticket.leave`` is called; raises ShuttingDown, QueueFull or Overloaded."""
        now = self._loop.time()
        ticket = Ticket(client, request, self.retry_schedule.claim(request, now), leave=self._leave)
        self._check(ticket, deadline, now)
        if not self._requests:
            self._nobody.clear()
        self._requests += 1
        return ticket

    def _leave(self) -> None:
        self._requests -= 1
        if not self._requests:
            self._nobody.set()

    async def left(self) -> None:
        """Wait until every admitted request has left."""
        while self._requests:
            await self._nobody.wait()

    def admit(self, job: Job) -> None:
        """Count one image until ``release``, or raise as ``enter``, at once, before any work."""
        self._check(job.ticket, job.deadline, self._loop.time())
        self._take()
        client = job.ticket.client
        self._held[client] = self._held.get(client, 0) + 1

    def release(self, job: Job) -> None:
        """Forget an image that was admitted, however it has ended."""
        if job.has_slot:
            self.queue.release(job)
        self._give_back()
        client = job.ticket.client
        held = self._held.pop(client) - 1
        if held:
            self._held[client] = held

    def check_start(self, job: Job) -> None:
        """Raise DeadlineExceeded for an image that would begin too late; alone it is tried all the same.

        In any thread, when work on it would begin.
        """
        if (
            job.deadline is not None
            and job.deadline - self._loop.time() < self.costs.slot_seconds / 2
            and self.queue.is_shared
        ):
            raise too_late()

    @contextmanager
    def carry_on(self) -> Iterator[None]:
        """Count more work on what was admitted before, for a block; never refused, so that a drain loses nothing."""
        self._take()
        try:
            yield
        finally:
            self._give_back()

    def close(self) -> None:
        """Refuse all that comes from now on."""
        self._closed = True

    async def drained(self) -> None:
        """Wait until nothing is under way."""
        while self._count:
            await self._empty.wait()

    def _take(self) -> None:
        if not self._count:
            self._empty.clear()
        self._count += 1

    def _give_back(self) -> None:
        self._count -= 1
        if not self._count:
            self._empty.set()

    def _check(self, ticket: Ticket, deadline: float | None, now: float) -> None:
        if self._closed:
            msg = f"Model {self._name!r} is shutting down."
            raise ShuttingDown(msg, _SHUTTING_DOWN_RETRY_SECONDS)
        if not self._count:
            return  # whatever was learned before: an idle model tries anything
        left = math.inf if deadline is None else deadline - now
        seconds = self._predict(ticket.client)
        # Places of those who are told to come back meanwhile are kept free, but never more than half of all.
        expected = 0.0 if ticket.is_retry else self.retry_schedule.expected(now, seconds)
        free = self._limit - self._count
        own = self._held.get(ticket.client, 0)
        if free <= min(expected, self._limit / 2) or own >= _OWN_SHARE * free:
            msg = (
                f"Model {self._name!r} has {self._count} images under way, {own} of them from "
                f"this client; {self._limit} are allowed, and some places are kept for other clients."
            )
            raise QueueFull(msg, self._retry_after(ticket, now, self._count * self.costs.interval / 2, left))
        late = _CAUTION * seconds + min(expected * self.costs.interval, left / 2) - left
        if late > 0:
            msg = (
                f"Model {self._name!r} would answer in about {seconds * 1000:.0f} ms, too late for this request, which "
                f"has {max(0.0, left) * 1000:.0f} ms left."
            )
            raise Overloaded(msg, self._retry_after(ticket, now, min(late, self._count * self.costs.interval), left))

    def _predict(self, client: str) -> float:
        """Seconds to the answer of a new image of ``client``."""
        turn = 0.0 if self.queue.has_room else (self.queue.ahead_of(client) + 1) * self.costs.interval
        return turn + self.costs.slot_seconds

    def _retry_after(self, ticket: Ticket, now: float, earliest: float, left: float) -> float:
        if ticket.retry_after_seconds is None:
            interval = self.costs.interval
            # Those who come back at the same moment have to fit in, and to be answered within half of their time.
            most = min(self._limit / 4, left / 2 / interval if interval else math.inf)
            ticket.retry_after_seconds = self.retry_schedule.reserve(
                ticket.request, now, earliest, interval, max(1, int(most))
            )
        return ticket.retry_after_seconds
