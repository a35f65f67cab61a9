"""What the tests of the batcher share: a batcher over a fake session, and its clients."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
from numpy.typing import NDArray

from emo_serve.engine.execution.batcher import Batcher
from emo_serve.engine.execution.inline import Answer
from emo_serve.engine.execution.session import Session
from emo_serve.engine.scheduling.cost_model import Costs
from emo_serve.engine.scheduling.ready_queue import Hand
from emo_serve.metrics.definitions import Metrics
from emo_serve.settings import Batching
from tests.support import PATIENCE_SECONDS, FakeSession


def tensor(value: int) -> NDArray[np.uint8]:
    return np.full((2, 2, 3), value, np.uint8)


@asynccontextmanager
async def batching(
    session: Session,
    *,
    max_batch_size: int = 4,
    delay: float = 0.0,
    instances: int = 1,
    costs: Costs | None = None,
    on_death: Callable[[], None] = lambda: None,
) -> AsyncIterator[Batcher]:
    options = Batching(max_batch_size=max_batch_size, max_queue_delay_seconds=delay)
    metrics = Metrics().for_model("toy", "classify")
    batcher = Batcher("toy", session, options, instances, costs or Costs(instances), metrics, Hand(), on_death)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield batcher
    finally:
        if isinstance(session, FakeSession):
            session.gate.set()
        await batcher.close()


def start(batcher: Batcher, value: int, deadline: float | None = None) -> asyncio.Task[Answer]:
    return asyncio.create_task(batcher.submit(tensor(value), deadline))


async def all_of(tasks: list[asyncio.Task[Answer]]) -> list[float | BaseException]:
    """The answered values, which must be the submitted ones, and the errors."""
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    return [float(a.outputs["scores"][0]) if isinstance(a, Answer) else a for a in answers]


async def turns(count: int = 5) -> None:
    """Let the event loop run what is ready."""
    for _ in range(count):
        await asyncio.sleep(0)


def now() -> float:
    return asyncio.get_running_loop().time()
