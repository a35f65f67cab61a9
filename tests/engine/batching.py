"""Helpers of the batcher's tests: a batcher over a fake session, and its clients."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
from numpy.typing import NDArray

from emo_serve.engine.execution.batcher import Batcher
from emo_serve.engine.execution.instances import Instances
from emo_serve.engine.execution.session import Run, Session
from emo_serve.engine.scheduling.cost_model import CostModel
from emo_serve.engine.scheduling.deadlines import Deadlines
from emo_serve.engine.scheduling.job import Job, Priority, Ticket
from emo_serve.metrics.definitions import Metrics
from emo_serve.settings import Batching
from emo_serve.vision.results import ClassifyParameters
from tests.engine.fake_session import FakeSession
from tests.support import PATIENCE_SECONDS


def tensor(value: int) -> NDArray[np.uint8]:
    return np.full((2, 2, 3), value, np.uint8)


@asynccontextmanager
async def batching(
    session: Session,
    *,
    max_batch_size: int = 4,
    delay: float = 0.0,
    instances: int = 1,
    costs: CostModel | None = None,
    on_death: Callable[[], None] = lambda: None,
) -> AsyncIterator[Batcher]:
    options = Batching(max_batch_size=max_batch_size, max_queue_delay_seconds=delay)
    metrics = Metrics().for_model("toy", "classify")
    costs = costs or CostModel(instances, max_batch_size=max_batch_size)
    batcher = Batcher(Instances("toy", session, instances, on_death), options, costs, metrics)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield batcher
    finally:
        if isinstance(session, FakeSession):
            session.gate.set()
        await batcher.instances.close()


def costs_with(slots: int) -> CostModel:
    """A cost model by which so many images are decoded and computed at a time."""
    costs = CostModel(1)
    costs.slots = slots
    return costs


_numbers = itertools.count()


def job(client: str = "", priority: Priority | None = None) -> Job:
    """An image of which only its turn matters."""
    return Job(b"", ClassifyParameters(), ticket=Ticket(client), priority=priority or Priority(0, 0, next(_numbers)))


def start(batcher: Batcher, value: int, deadline: float | None = None) -> asyncio.Task[Run]:
    return asyncio.create_task(_submit(batcher, value, deadline))


async def _submit(batcher: Batcher, value: int, deadline: float | None) -> Run:
    with Deadlines().before(deadline):
        return await batcher.submit(tensor(value), deadline)


async def all_of(tasks: list[asyncio.Task[Run]]) -> list[float | BaseException]:
    """The answered values, which must be the submitted ones, and the errors."""
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    return [float(a.outputs["scores"][0]) if isinstance(a, Run) else a for a in answers]


async def turns(count: int = 5) -> None:
    """Let the event loop run what is ready."""
    for _ in range(count):
        await asyncio.sleep(0)


def now() -> float:
    return asyncio.get_running_loop().time()
