"""A model that gets many requests, in simulated time: seconds pass in milliseconds, and always alike.

What is simulated is the machine: an image takes a core for its decoding and again for its run. The queue, admission
and cost model are the real ones, on an event loop whose clock jumps to the next moment at which something happens.
"""

import asyncio
import random
import selectors
from collections.abc import Coroutine
from dataclasses import dataclass, field
from math import ceil
from typing import Any, TypeVar

from emo_serve.engine.scheduling.admission import Admission
from emo_serve.engine.scheduling.cost_model import CostModel
from emo_serve.engine.scheduling.deadlines import Deadlines
from emo_serve.engine.scheduling.fair_queue import FairQueue
from emo_serve.engine.scheduling.job import Job
from emo_serve.errors import DeadlineExceeded, Unavailable
from emo_serve.vision.results import ClassifyParameters
from tests.load.arrivals import quantile

CORES = 2
DECODE_SECONDS, RUN_SECONDS = 0.016, 0.024
SUSTAINABLE = CORES / (DECODE_SECONDS + RUN_SECONDS)  # images a second

T = TypeVar("T")


class _SkippingSelector(selectors.DefaultSelector):
    """Moves the clock on instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += max(0.0, timeout or 0.0)
        return super().select(0)


class _SimulatedLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._skipping = _SkippingSelector()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.now


def simulate(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=_SimulatedLoop) as runner:
        return runner.run(main)


@dataclass(slots=True)
class Tally:
    """Outcomes of some requests."""

    seconds: list[float] = field(default_factory=list)  # of those answered in time
    late: int = 0  # accepted and not answered in time
    refused: int = 0
    done_at: list[float] = field(default_factory=list)

    @property
    def accepted(self) -> int:
        return len(self.seconds) + self.late

    def quantile(self, share: float) -> float:
        return quantile(self.seconds, share)

    def answered_between(self, start: float, end: float) -> int:
        return sum(start <= moment < end for moment in self.done_at)


class Model:
    """A model with its queue and its admission, on ``CORES`` simulated cores."""

    def __init__(self, seed: int = 1, limit: int = 256, slots: int = CORES) -> None:
        self.chance = random.Random(seed)
        self.costs = CostModel(instances=CORES)
        self.costs.slots = slots
        self.queue = FairQueue(self.costs)
        self.admission = Admission("toy", limit, self.queue)
        self.deadlines = Deadlines()
        self._cores = asyncio.Semaphore(CORES)

    async def warm_up(self) -> None:
        """Answer a few images, as at any start, so that something is known about costs."""
        for _ in range(20):
            await self.request("", 30, Tally())

    async def work(self) -> None:
        for seconds in (DECODE_SECONDS, RUN_SECONDS):
            async with self._cores:
                await asyncio.sleep(seconds * self.chance.uniform(0.7, 1.3))

    async def request(self, client: str, within: float, tally: Tally, size: int = 0) -> float | None:
        """Ask once; the seconds after which to come back if it was refused."""
        loop = asyncio.get_running_loop()
        arrived = loop.time()
        try:
            ticket = self.admission.enter(client, f"{client} {size}", arrived + within)
            job = Job(b"", ClassifyParameters(), arrived + within, ticket)
            self.admission.admit(job)
            try:
                with self.deadlines.before(job.deadline):
                    await self.queue.acquire(job)
                    began = loop.time()
                    await self.work()
                    self.costs.answered(loop.time() - began, self.queue.taken)
            finally:
                self.admission.release(job)
        except Unavailable as error:
            tally.refused += 1
            return error.retry_after_seconds
        except DeadlineExceeded:
            tally.late += 1
        else:
            tally.seconds.append(loop.time() - arrived)
            tally.done_at.append(loop.time())
        return None

    async def obeying(self, client: str, within: float, first: Tally, second: Tally, size: int = 0) -> None:
        """Ask, and once more when Retry-After, in whole seconds, has passed."""
        wait = await self.request(client, within, first, size)
        if wait is not None:
            await asyncio.sleep(max(1, ceil(wait)))
            await self.request(client, within, second, size)
