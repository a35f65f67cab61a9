import asyncio
import time

import pytest

from emo_serve.engine.scheduling.cost_model import CostModel
from emo_serve.engine.scheduling.job import Priority
from emo_serve.errors import ImageUndecodable, InferenceFailed, ShuttingDown
from tests.engine.batching import all_of, start, turns
from tests.engine.fake_session import FakeSession
from tests.engine.inlining import Steps, inline

pytestmark = pytest.mark.anyio

# Two images in one run take twice the time of one: batches do not pay.
NO_GAIN = {1: 0.001, 2: 0.002}


def no_gain() -> CostModel:
    return CostModel(1, NO_GAIN, max_batch_size=2)


async def test_all_steps_of_an_image_happen_in_one_thread_of_an_instance() -> None:
    steps = Steps()
    steps.gate.set()
    async with inline(FakeSession(), steps, no_gain()) as model:
        await model.start(7)
    (thread,) = steps.threads
    assert thread.startswith("infer-toy")


async def test_the_next_image_may_begin_before_the_answer_is_given() -> None:
    steps = Steps()
    steps.gate.set()
    async with inline(FakeSession(), steps, no_gain()) as model:
        await model.start(7)
    assert steps.events == ["7 computed", "7 answered 7"]


async def test_an_image_runs_inline_only_where_batches_do_not_pay_and_nobody_waits_for_one() -> None:
    steps, session = Steps(), FakeSession(is_open=False)
    async with inline(session, steps, CostModel(1, max_batch_size=2), max_batch_size=2) as model:
        assert not model.is_best  # nothing is known about batches
    async with inline(session, steps, no_gain(), max_batch_size=2) as model:
        assert model.is_best
        task = model.start(1)
        await turns()
        assert model.is_best  # the thread takes the next one when it has ended this
        waiting = start(model.batcher, 2)
        await turns()
        assert not model.is_best
        steps.gate.set()
        session.gate.set()
        await task
        assert await all_of([waiting]) == [2]
        assert model.is_best


async def test_an_image_whose_client_leaves_while_it_is_prepared_is_not_computed_and_its_instance_goes_on() -> None:
    steps, session = Steps(), FakeSession()
    async with inline(session, steps, no_gain()) as model:
        leaver = model.start(1)
        await turns()
        leaver.cancel()
        await asyncio.gather(leaver, return_exceptions=True)
        steps.gate.set()
        await model.start(2)
    assert session.batches == [[2]]
    assert steps.events == ["2 computed", "2 answered 2"]


async def test_ready_images_are_taken_in_the_order_of_priority_and_without_the_event_loop() -> None:
    steps, session = Steps(), FakeSession()
    async with inline(session, steps, no_gain()) as model:
        tasks = [model.start(1)]
        await turns()
        tasks += [model.start(value, Priority(value, 0, value)) for value in (4, 3, 2)]
        await turns()
        steps.gate.set()
        deadline = time.monotonic() + 10
        while len(session.batches) < 4 and time.monotonic() < deadline:
            time.sleep(0.001)  # noqa: ASYNC251  the event loop stands still
        assert session.batches == [[1], [2], [3], [4]]
        await asyncio.gather(*tasks)


async def test_an_image_whose_client_leaves_while_it_is_ready_is_not_even_prepared() -> None:
    steps, session = Steps(), FakeSession()
    async with inline(session, steps, no_gain()) as model:
        first = model.start(1)
        await turns()
        leaver = asyncio.create_task(model.run(_never))
        await turns()
        leaver.cancel()
        await asyncio.gather(leaver, return_exceptions=True)
        steps.gate.set()
        await first
        await model.start(2)
    assert session.batches == [[1], [2]]


def _never() -> int:
    raise AssertionError


async def test_an_image_that_gets_ready_while_a_batch_runs_waits_for_its_end() -> None:
    steps, session = Steps(), FakeSession(is_open=False)
    steps.gate.set()
    async with inline(session, steps, no_gain(), max_batch_size=2) as model:
        together = start(model.batcher, 1)
        await session.entered()
        assert not model.is_best
        session.gate.set()
        await together
        await model.start(2)
    assert session.batches == [[1], [2]]


async def test_what_a_step_raises_reaches_the_one_who_asked_and_nobody_else() -> None:
    def undecodable() -> int:
        msg = "no image"
        raise ImageUndecodable(msg)

    def broken() -> int:
        raise KeyError

    steps = Steps()
    steps.gate.set()
    async with inline(FakeSession(), steps, no_gain()) as model:
        with pytest.raises(ImageUndecodable, match="no image"):
            await model.run(undecodable)
        with pytest.raises(InferenceFailed):
            await model.run(broken)
        await model.start(3)
    assert steps.events[-1] == "3 answered 3"


async def test_closing_leaves_no_image_waiting_that_runs_inline() -> None:
    steps = Steps()
    async with inline(FakeSession(), steps, no_gain()) as model:
        task = model.start(1)
        await turns()
        await model.batcher.instances.close()
        with pytest.raises(ShuttingDown):
            await task
        steps.gate.set()
        with pytest.raises(ShuttingDown):
            await model.run(steps.when_open(2))
