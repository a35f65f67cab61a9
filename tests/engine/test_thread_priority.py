"""A heavy model lets the others go first."""

import os
import sys
import threading

import numpy as np
import pytest
from numpy.typing import NDArray

from emo_serve.engine.scheduling.cost_model import CostModel
from tests.engine.batching import batching, start
from tests.engine.inlining import Steps, inline

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority here")]


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


class Watched:
    """A session that keeps the niceness of the threads it runs in."""

    def __init__(self) -> None:
        self.seen: set[int] = set()

    def run(self, batch: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        self.seen.add(niceness())
        return {"scores": np.zeros((len(batch), 3), np.float32)}


@pytest.mark.parametrize("alone", [False, True])
async def test_only_the_threads_of_a_heavy_model_have_a_lower_priority(alone: bool) -> None:
    for seconds, steps in ((0.002, 0), (0.6, 10)):
        session, images = Watched(), Steps()
        images.gate.set()
        async with inline(session, images, CostModel(1, {1: seconds})) as model:
            await (model.start(1) if alone else start(model.batcher, 1))
        assert session.seen == {min(19, niceness() + steps)}


async def test_a_model_that_nobody_measured_is_known_to_be_heavy_after_its_first_image() -> None:
    session, costs = Watched(), CostModel(1)
    async with batching(session, costs=costs) as batcher:
        await start(batcher, 1)
        costs.ran(1, 100.0)
        await start(batcher, 1)
    assert session.seen == {niceness(), min(19, niceness() + 10)}
