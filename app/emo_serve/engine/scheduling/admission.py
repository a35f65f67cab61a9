"""Admission: what cannot be answered in time is refused at the door, before it costs anything.

An image is accepted while there is room for it and while its answer is predicted to come before its deadline, given the
images under way and those that have their turn before it. What is refused is told when there will be room.
"""

import asyncio
import math
from dataclasses import dataclass

from emo_serve.engine.scheduling.cost_model import Costs
from emo_serve.engine.scheduling.fair_queue import Line
from emo_serve.engine.scheduling.retry_schedule import Returns
from emo_serve.errors import Overloaded, QueueFull, ShuttingDown

_CAUTION = 1.2  # answers may take so many times what is predicted
_SHUTTING_DOWN_RETRY_SECONDS = 1.0
_OWN_SHARE = 7  # a client may have so many times the images that there are places free


@dataclass(slots=True)
class Visit:
    """A request at the door of a model."""

    client: str = ""
    request: str = ""
    """What is the same when the request comes back."""
    is_back: bool = False
    """It was refused before and has come back when it was told to."""
    retry_after_seconds: float | None = None
    """What it is told now; once for all of its images."""


class Admission:
    """Counts images from acceptance to answer and refuses what is too much; used from one event loop."""

    def __init__(self, name: str, limit: int, line: Line, costs: Costs) -> None:
        """Admit up to ``limit`` images at a time for the model called ``name``."""
        self._name = name
        self._limit = limit
        self._line = line
        self._costs = costs
        self.returns = Returns()
        self._held: dict[str, int] = {}  # client -> its images, for those that have any
        self._count = 0
        self._visits = 0
        self._closed = False
        self._loop = asyncio.get_running_loop()  # to ask for it each time costs a call of the system
        self._nobody = asyncio.Event()
        self._nobody.set()
        self._empty = asyncio.Event()
        self._empty.set()

    def enter(self, client: str, request: str, deadline: float) -> Visit:
        """Let a request of one image or more in, until ``leave``; raises ShuttingDown, QueueFull or Overloaded."""
        now = self._loop.time()
        visit = Visit(client, request, is_back=self.returns.redeem(request, now))
        self._check(visit, deadline)
        self._visits += 1
        self._nobody.clear()
        return visit

    def leave(self) -> None:
        """End a visit that ``enter`` began."""
        self._visits -= 1
        if not self._visits:
            self._nobody.set()

    async def left(self) -> None:
        """Wait until every visit has ended."""
        while self._visits:
            await self._nobody.wait()

    def admit(self, visit: Visit, deadline: float | None) -> "Place":
        """A place for one image for the time of a block; raises as ``enter``, at once, before any work."""
        self._check(visit, deadline)
        return Place(self, visit.client)

    def carry_on(self) -> "Place":
        """A place for more work on what was admitted before; never refused, so that a drain loses nothing."""
        return Place(self, None)

    def take(self, client: str | None) -> None:
        """Take a place, which counts as the client's where one is named."""
        self._count += 1
        self._empty.clear()
        if client is not None:
            self._held[client] = self._held.get(client, 0) + 1

    def give_back(self, client: str | None) -> None:
        """Give back what ``take`` took."""
        self._count -= 1
        if not self._count:
            self._empty.set()
        if client is not None:
            held = self._held.pop(client) - 1
            if held:
                self._held[client] = held

    def close(self) -> None:
        """Refuse all that comes from now on."""
        self._closed = True

    async def drained(self) -> None:
        """Wait until nothing is under way."""
        while self._count:
            await self._empty.wait()

    def _check(self, visit: Visit, deadline: float | None) -> None:
        if self._closed:
            msg = f"Model {self._name!r} is shutting down."
            raise ShuttingDown(msg, _SHUTTING_DOWN_RETRY_SECONDS)
        if not self._count:
            return  # whatever was learned before: an idle model tries anything
        now = self._loop.time()
        left = math.inf if deadline is None else deadline - now
        seconds = self._predict(visit.client)
        # Places of those who are told to come back meanwhile are kept free, but never more than half of all.
        expected = 0.0 if visit.is_back else self.returns.expected(now, seconds)
        free = self._limit - self._count
        own = self._held.get(visit.client, 0)
        if free <= min(expected, self._limit / 2) or own >= _OWN_SHARE * free:
            msg = (
                f"Model {self._name!r} has {self._count} images under way, {own} of them from "
                f"this client; {self._limit} are allowed, and some places are kept for other clients."
            )
            raise QueueFull(msg, self._retry_after(visit, now, self._count * self._costs.interval / 2, left))
        late = _CAUTION * seconds + min(expected * self._costs.interval, left / 2) - left
        if late > 0:
            msg = (
                f"Model {self._name!r} would answer in about {seconds * 1000:.0f} ms, too late for this request, which "
                f"has {max(0.0, left) * 1000:.0f} ms left."
            )
            raise Overloaded(msg, self._retry_after(visit, now, min(late, self._count * self._costs.interval), left))

    def _predict(self, client: str) -> float:
        """Seconds to the answer of a new image of ``client``."""
        turn = 0.0 if self._line.has_room else (self._line.ahead_of(client) + 1) * self._costs.interval
        return turn + self._costs.slot_seconds

    def _retry_after(self, visit: Visit, now: float, earliest: float, left: float) -> float:
        if visit.retry_after_seconds is None:
            interval = self._costs.interval
            # Those who come back at the same moment have to fit in, and to be answered within half of their time.
            most = min(self._limit / 4, left / 2 / interval if interval else math.inf)
            visit.retry_after_seconds = self.returns.book(visit.request, now, earliest, interval, max(1, int(most)))
        return visit.retry_after_seconds


class Place:
    """A place among the images under way, for the time of a block."""

    __slots__ = ("_admission", "_client")

    def __init__(self, admission: Admission, client: str | None) -> None:
        self._admission = admission
        self._client = client

    def __enter__(self) -> None:
        self._admission.take(self._client)

    def __exit__(self, *ended: object) -> None:
        self._admission.give_back(self._client)
