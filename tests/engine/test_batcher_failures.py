import asyncio
import random
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from emo_serve.engine.execution.batcher import Batcher
from emo_serve.engine.execution.instances import Instances
from emo_serve.engine.execution.session import Outputs
from emo_serve.engine.scheduling.cost_model import CostModel
from emo_serve.errors import InferenceFailed, ModelNotReady, ShuttingDown
from emo_serve.metrics.definitions import Metrics
from emo_serve.settings import Batching
from tests.engine.batching import all_of, batching, now, start, tensor, turns
from tests.engine.fake_session import FakeSession

pytestmark = pytest.mark.anyio

# ---- failing ---------------------------------------------------------------------------------------------------------


async def test_a_failed_batch_rejects_only_itself() -> None:
    session = FakeSession(poison=frozenset({1, 2}))
    async with batching(session, max_batch_size=2) as batcher:
        answers = await all_of([start(batcher, value) for value in (1, 2, 3, 4)])
        assert all(isinstance(answer, InferenceFailed) for answer in answers[:2])
        assert answers[2:] == [3, 4]
        assert batcher.instances.alive


async def test_a_failed_batch_is_retried_one_by_one_so_that_a_poison_image_fails_alone() -> None:
    session = FakeSession(poison=frozenset({2}))
    async with batching(session) as batcher:
        answers = await all_of([start(batcher, value) for value in (1, 2, 3, 4)])
    assert isinstance(answers.pop(1), InferenceFailed)
    assert answers == [1, 3, 4]
    assert session.batches == [[1, 2, 3, 4], [1], [2], [3], [4]]


async def test_the_retry_leaves_out_who_has_left() -> None:
    session = FakeSession(is_open=False, poison=frozenset({1}))
    async with batching(session) as batcher:
        tasks = [start(batcher, value) for value in (1, 2, 3)]
        await session.entered()
        tasks[1].cancel()
        await turns()
        session.gate.set()
        await all_of(tasks)
    assert session.batches == [[1, 2, 3], [1], [3]]


async def test_each_failed_request_gets_an_error_of_its_own_with_its_cause() -> None:
    async with batching(FakeSession(poison=frozenset({1, 2}))) as batcher:
        errors = await all_of([start(batcher, value) for value in (1, 2)])
    assert errors[0] is not errors[1]
    assert all(isinstance(error, InferenceFailed) and str(error.__cause__) == "poisoned" for error in errors)


class OddSession:
    """Answers as it is told, whatever comes in."""

    def __init__(self, answer: Callable[[int], Outputs]) -> None:
        self._answer = answer

    def run(self, batch: NDArray[np.uint8]) -> Outputs:
        return self._answer(len(batch))


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: {"scores": np.zeros((3, 3), np.float32)},
        lambda _: {},
        lambda count: {"scores": np.zeros((count, 3), np.float32), "boxes": np.zeros((count + 1, 4), np.float32)},
        lambda _: {"scores": np.float32(1)},
        lambda _: None,
    ],
    ids=["too many", "no outputs", "one output too long", "a scalar", "nothing"],
)
async def test_a_wrong_result_count_is_an_error_not_a_hang(answer: Callable[[int], Outputs]) -> None:
    async with batching(OddSession(answer)) as batcher:
        answers = await all_of([start(batcher, value) for value in (1, 2)])
        assert all(isinstance(answer, InferenceFailed) for answer in answers)
        assert batcher.instances.alive


@pytest.mark.parametrize("error", [StopIteration, SystemExit, KeyboardInterrupt, MemoryError, asyncio.CancelledError])
async def test_no_exception_of_the_model_can_end_the_batcher(error: type[BaseException]) -> None:
    def fail(_: int) -> Outputs:
        raise error

    async with batching(OddSession(fail)) as batcher:
        for _ in range(2):
            with pytest.raises(InferenceFailed):
                await batcher.submit(tensor(1))
        assert batcher.instances.alive


async def test_in_a_storm_of_leavers_deadlines_and_poison_everybody_gets_the_answer_that_is_theirs() -> None:
    chance = random.Random(7)
    poison = frozenset({13, 77})
    session = FakeSession(poison=poison)

    async def client(batcher: Batcher, value: int) -> str:
        await turns(chance.randrange(40))
        deadline = now() + chance.choice([0.0, 0.001, 0.003]) if chance.random() < 0.2 else None
        task = start(batcher, value, deadline)
        if chance.random() < 0.3:
            await turns(chance.randrange(20))
            task.cancel()
        (answer,) = await all_of([task])
        if isinstance(answer, InferenceFailed):
            assert value in poison
        elif not isinstance(answer, BaseException):
            assert answer == value
        return type(answer).__name__

    async with batching(session, max_batch_size=8, instances=3) as batcher:
        ends = await asyncio.gather(*(client(batcher, number % 100) for number in range(2000)))
        assert set(ends) == {"float", "CancelledError", "DeadlineExceeded", "InferenceFailed"}
        assert await all_of([start(batcher, 1)]) == [1]
        assert batcher.instances.alive


# ---- bounds and ends -------------------------------------------------------------------------------------------------


async def test_a_close_leaves_nobody_waiting_and_refuses_what_comes() -> None:
    session = FakeSession(is_open=False)
    async with batching(session, max_batch_size=2) as batcher:
        tasks = [start(batcher, value) for value in range(5)]
        await session.entered()
        await batcher.instances.close()
        assert all(isinstance(answer, ShuttingDown) for answer in await all_of(tasks))
        with pytest.raises(ShuttingDown):
            await batcher.submit(tensor(9))
        assert not batcher.instances.alive
    assert 9 not in session.seen


@pytest.mark.parametrize("victim", ["batcher toy", "batch of 2 for toy"])
async def test_a_killed_batcher_leaves_nobody_waiting(victim: str) -> None:
    session = FakeSession(is_open=False)
    deaths: list[str] = []
    async with batching(session, max_batch_size=2, on_death=lambda: deaths.append("toy")) as batcher:
        tasks = [start(batcher, value) for value in range(5)]
        await session.entered()
        (task,) = [task for task in asyncio.all_tasks() if task.get_name() == victim]
        task.cancel()
        await turns()
        assert not batcher.instances.alive
        assert deaths == ["toy"]
        session.gate.set()
        answers = await all_of(tasks)
        # The batch that ran is answered when only the forming of batches died.
        assert answers[:2] == [0, 1] or all(isinstance(answer, ModelNotReady) for answer in answers[:2])
        assert all(isinstance(answer, ModelNotReady) for answer in answers[2:])
        with pytest.raises(ModelNotReady):
            await batcher.submit(tensor(9))


async def test_who_waits_and_the_batch_sizes_are_counted() -> None:
    session = FakeSession(is_open=False)
    metrics = Metrics()
    instances = Instances("toy", session, 1)
    batcher = Batcher(instances, Batching(max_batch_size=2), CostModel(1), metrics.for_model("toy", "classify"))
    tasks = [start(batcher, value) for value in range(5)]
    await session.entered()
    await turns()
    tasks[4].cancel()
    await turns()
    value = metrics.registry.get_sample_value
    assert len(batcher.queue) == 2
    session.gate.set()
    await all_of(tasks)
    assert len(batcher.queue) == 0
    assert value("emo_batch_size_count", {"model": "toy"}) == 2
    assert value("emo_batch_size_sum", {"model": "toy"}) == 4
    await batcher.instances.close()
