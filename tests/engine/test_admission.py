import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from emo_serve.engine.scheduling.admission import Admission
from emo_serve.engine.scheduling.cost_model import CostModel
from emo_serve.engine.scheduling.fair_queue import FairQueue
from emo_serve.engine.scheduling.job import Job, Ticket
from emo_serve.errors import Overloaded, QueueFull, ShuttingDown
from emo_serve.vision.results import ClassifyParameters
from tests.engine.batching import costs_with, now
from tests.engine.simulation import simulate

pytestmark = pytest.mark.anyio


def admission(limit: int, costs: CostModel | None = None) -> Admission:
    return Admission("toy", limit, FairQueue(costs or costs_with(slots=2)))


@contextmanager
def admitted(model: Admission, ticket: Ticket, deadline: float | None = None) -> Iterator[None]:
    job = Job(b"", ClassifyParameters(), deadline, ticket)
    model.admit(job)
    try:
        yield
    finally:
        model.release(job)


def learned(interval: float, slot_seconds: float) -> CostModel:
    costs = costs_with(slots=2)
    costs.interval, costs.slot_seconds = interval, slot_seconds
    return costs


async def test_the_limit_is_held_and_a_place_comes_back_whatever_happens() -> None:
    model = admission(1)

    def fail() -> None:
        with admitted(model, Ticket()):
            with pytest.raises(QueueFull), admitted(model, Ticket()):
                pass
            raise RuntimeError

    for _ in range(3):
        with pytest.raises(RuntimeError):
            fail()


async def test_one_client_cannot_take_all_places() -> None:
    model = admission(64)
    with ExitStack() as places:
        for _ in range(56):
            places.enter_context(admitted(model, Ticket("greedy")))
        with pytest.raises(QueueFull):
            places.enter_context(admitted(model, Ticket("greedy")))
        for number in range(8):
            places.enter_context(admitted(model, Ticket(str(number))))
        with pytest.raises(QueueFull):
            places.enter_context(admitted(model, Ticket("late")))


async def test_what_would_be_answered_too_late_is_refused_with_the_time_to_drain() -> None:
    model = admission(1000, learned(interval=0.5, slot_seconds=1.0))
    with admitted(model, Ticket()):
        assert model.enter("a", "a", now() + 2) == Ticket("a", "a")
        with pytest.raises(Overloaded, match="1000 ms") as refused:
            model.enter("b", "b", now() + 0.9)
        assert refused.value.retry_after_seconds is not None
        assert 0.2 < refused.value.retry_after_seconds <= 0.5


async def test_an_idle_model_tries_anything_because_what_it_learned_may_be_wrong() -> None:
    model = admission(1000, learned(interval=100, slot_seconds=100))
    with admitted(model, model.enter("a", "a", now() + 0.01), now() + 0.01), pytest.raises(Overloaded):
        model.enter("a", "a", now() + 0.01)


async def test_all_images_of_a_request_are_told_the_same_time() -> None:
    model = admission(1, learned(interval=0.5, slot_seconds=1.0))
    ticket = Ticket("a", "a")
    times = set()
    with admitted(model, Ticket()):
        for _ in range(5):
            with pytest.raises(QueueFull) as refused, admitted(model, ticket):
                pass
            times.add(refused.value.retry_after_seconds)
    assert len(times) == 1


def test_places_are_kept_for_those_who_come_back() -> None:
    async def main() -> None:
        model = admission(8, learned(interval=0.5, slot_seconds=1.0))
        with ExitStack() as places:
            for number in range(8):
                places.enter_context(admitted(model, Ticket(str(number))))
            with pytest.raises(QueueFull) as refused:
                model.enter("refused", "refused", now() + 30)
        wait = refused.value.retry_after_seconds
        assert wait is not None
        with ExitStack() as places:
            for number in range(7):
                places.enter_context(admitted(model, Ticket(str(number))))
            await asyncio.sleep(wait - 0.2)
            with pytest.raises(QueueFull):
                model.enter("new", "new", now() + 30)
            await asyncio.sleep(0.4)
            assert model.enter("refused", "refused", now() + 30).is_retry

    run: Coroutine[Any, Any, None] = main()
    simulate(run)


async def test_a_closed_admission_refuses_but_carries_on_what_it_admitted() -> None:
    model = admission(1)
    with admitted(model, Ticket()):
        model.close()
        drained = asyncio.create_task(model.drained())
        with pytest.raises(ShuttingDown):
            model.enter("a", "a", now() + 1)
        with model.carry_on():
            await asyncio.sleep(0)
        assert not drained.done()
    await drained
