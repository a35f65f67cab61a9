import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from emo_serve.engine.execution.batcher import Batcher
from emo_serve.engine.execution.inline import Answer
from emo_serve.engine.scheduling.cost_model import Costs
from emo_serve.engine.scheduling.ready_queue import FIRST, Turn
from emo_serve.errors import ImageUndecodable, InferenceFailed, ShuttingDown
from tests.engine.batching import all_of, batching, start, tensor, turns
from tests.support import FakeSession

pytestmark = pytest.mark.anyio

# Two images in one run take twice the time of one: batches do not pay.
NO_GAIN = {1: 0.001, 2: 0.002}


@dataclass(frozen=True, slots=True)
class Ready:
    tensor: NDArray[np.uint8]


@dataclass(slots=True)
class Steps:
    """What happened to the images of a test, and in which threads."""

    events: list[str] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)
    gate: threading.Event = field(default_factory=threading.Event)

    def prepare(self, value: int) -> Callable[[], Ready]:
        def prepare() -> Ready:
            self.gate.wait()
            self.threads.add(threading.current_thread().name)
            return Ready(tensor(value))

        return prepare

    def finish(self, ready: Ready, answer: Answer) -> float:
        assert ready.tensor.shape == (2, 2, 3)
        self.threads.add(threading.current_thread().name)
        return float(answer.outputs["scores"][0])

    def start(self, batcher: Batcher, value: int, turn: Turn = FIRST) -> asyncio.Task[None]:
        async def image() -> None:
            computed = await batcher.run_alone(
                self.prepare(value), self.finish, lambda: self.events.append(f"{value} computed"), turn
            )
            self.events.append(f"{value} answered {computed:g}")

        return asyncio.create_task(image())


def no_gain() -> Costs:
    return Costs(1, NO_GAIN)


async def test_all_steps_of_an_image_happen_in_one_thread_of_an_instance() -> None:
    steps = Steps()
    steps.gate.set()
    async with batching(FakeSession(), costs=no_gain()) as batcher:
        await steps.start(batcher, 7)
    (thread,) = steps.threads
    assert thread.startswith("infer-toy")


async def test_the_next_image_may_begin_before_the_answer_is_given() -> None:
    steps = Steps()
    steps.gate.set()
    async with batching(FakeSession(), costs=no_gain()) as batcher:
        await steps.start(batcher, 7)
    assert steps.events == ["7 computed", "7 answered 7"]


async def test_an_image_is_alone_only_where_batches_do_not_pay_and_nobody_waits_for_one() -> None:
    steps, session = Steps(), FakeSession(is_open=False)
    async with batching(session, max_batch_size=2, costs=Costs(1)) as batcher:
        assert not batcher.lets_alone  # nothing is known about batches
    async with batching(session, max_batch_size=2, costs=no_gain()) as batcher:
        assert batcher.lets_alone
        task = steps.start(batcher, 1)
        await turns()
        assert batcher.lets_alone  # the thread takes the next one when it has ended this
        waiting = start(batcher, 2)
        await turns()
        assert not batcher.lets_alone
        steps.gate.set()
        session.gate.set()
        await task
        assert await all_of([waiting]) == [2]
        assert batcher.lets_alone


async def test_an_image_whose_client_leaves_while_it_is_prepared_is_not_computed_and_its_instance_goes_on() -> None:
    steps, session = Steps(), FakeSession()
    async with batching(session, costs=no_gain()) as batcher:
        leaver = steps.start(batcher, 1)
        await turns()
        leaver.cancel()
        await asyncio.gather(leaver, return_exceptions=True)
        steps.gate.set()
        await steps.start(batcher, 2)
    assert session.batches == [[2]]
    assert steps.events == ["2 computed", "2 answered 2"]


async def test_what_lies_at_hand_is_taken_in_the_order_of_turns_and_without_the_event_loop() -> None:
    steps, session = Steps(), FakeSession()
    async with batching(session, costs=no_gain()) as batcher:
        tasks = [steps.start(batcher, 1)]
        await turns()
        tasks += [steps.start(batcher, value, Turn(value, 0, value)) for value in (4, 3, 2)]
        await turns()
        steps.gate.set()
        deadline = time.monotonic() + 10
        while len(session.batches) < 4 and time.monotonic() < deadline:
            time.sleep(0.001)  # noqa: ASYNC251  the event loop stands still
        assert session.batches == [[1], [2], [3], [4]]
        await asyncio.gather(*tasks)


async def test_an_image_whose_client_leaves_while_it_lies_at_hand_is_not_even_prepared() -> None:
    steps, session = Steps(), FakeSession()
    async with batching(session, costs=no_gain()) as batcher:
        first = steps.start(batcher, 1)
        await turns()
        leaver = asyncio.create_task(batcher.run_alone(_never, steps.finish, lambda: None, FIRST))
        await turns()
        leaver.cancel()
        await asyncio.gather(leaver, return_exceptions=True)
        steps.gate.set()
        await first
        await steps.start(batcher, 2)
    assert session.batches == [[1], [2]]


def _never() -> Ready:
    raise AssertionError


async def test_an_image_that_is_put_at_hand_while_a_batch_runs_waits_for_its_end() -> None:
    steps, session = Steps(), FakeSession(is_open=False)
    steps.gate.set()
    async with batching(session, max_batch_size=2, costs=no_gain()) as batcher:
        together = start(batcher, 1)
        await session.entered()
        assert not batcher.lets_alone
        session.gate.set()
        await together
        await steps.start(batcher, 2)
    assert session.batches == [[1], [2]]


async def test_what_a_step_raises_reaches_the_one_who_asked_and_nobody_else() -> None:
    def undecodable() -> Ready:
        msg = "no image"
        raise ImageUndecodable(msg)

    def broken() -> Ready:
        raise KeyError

    steps = Steps()
    steps.gate.set()
    async with batching(FakeSession(), costs=no_gain()) as batcher:
        with pytest.raises(ImageUndecodable, match="no image"):
            await batcher.run_alone(undecodable, steps.finish, lambda: None, FIRST)
        with pytest.raises(InferenceFailed):
            await batcher.run_alone(broken, steps.finish, lambda: None, FIRST)
        await steps.start(batcher, 3)
    assert steps.events[-1] == "3 answered 3"


async def test_closing_leaves_no_image_waiting_that_is_alone() -> None:
    steps = Steps()
    async with batching(FakeSession(), costs=no_gain()) as batcher:
        task = steps.start(batcher, 1)
        await turns()
        await batcher.close()
        with pytest.raises(ShuttingDown):
            await task
        steps.gate.set()
        with pytest.raises(ShuttingDown):
            await batcher.run_alone(steps.prepare(2), steps.finish, lambda: None, FIRST)
