import asyncio
import time

import pytest

from emo_serve.engine.scheduling.cost_model import CostModel
from emo_serve.errors import DeadlineExceeded
from tests.engine.batching import all_of, batching, now, start, turns
from tests.engine.fake_session import FakeSession
from tests.support import PATIENCE_SECONDS

pytestmark = pytest.mark.anyio

# ---- forming batches -------------------------------------------------------------------------------------------------


async def test_requests_that_arrive_together_share_a_batch() -> None:
    session = FakeSession()
    async with batching(session) as batcher:
        assert await all_of([start(batcher, value) for value in (1, 2, 3, 4)]) == [1, 2, 3, 4]
    assert session.batches == [[1, 2, 3, 4]]


async def test_idle_instances_do_not_split_a_batch() -> None:
    session = FakeSession()
    async with batching(session, instances=4) as batcher:
        assert await all_of([start(batcher, value) for value in (1, 2, 3, 4)]) == [1, 2, 3, 4]
    assert session.batches == [[1, 2, 3, 4]]


async def test_batches_grow_while_busy_even_with_no_delay() -> None:
    session = FakeSession(is_open=False)
    async with batching(session, max_batch_size=8) as batcher:
        tasks = [start(batcher, 0)]
        await session.entered()
        for value in range(1, 6):  # one after the other
            tasks.append(start(batcher, value))
            await turns()
        session.gate.set()
        assert await all_of(tasks) == [0, 1, 2, 3, 4, 5]
    assert session.batches == [[0], [1, 2, 3, 4, 5]]


async def test_no_batch_is_larger_than_allowed_and_the_order_is_kept() -> None:
    session = FakeSession()
    async with batching(session, max_batch_size=3) as batcher:
        await all_of([start(batcher, value) for value in range(8)])
    assert session.batches == [[0, 1, 2], [3, 4, 5], [6, 7]]


async def test_as_many_batches_run_at_once_as_there_are_instances() -> None:
    session = FakeSession(is_open=False)
    async with batching(session, max_batch_size=1, instances=2) as batcher:
        tasks = [start(batcher, value) for value in (1, 2, 3)]
        await session.entered(runs=2)
        await turns()
        assert len(session.batches) == 2
        session.gate.set()
        assert await all_of(tasks) == [1, 2, 3]


async def test_the_delay_window_starts_at_the_first_queued_request() -> None:
    session = FakeSession()
    delay = 0.6
    async with batching(session, delay=delay, max_batch_size=8) as batcher:
        await asyncio.sleep(delay / 4)  # idle: a window that ran from here would be shorter
        tasks = [start(batcher, 1)]
        # Timers of one loop fire in their order however late they are: the second request always meets the window.
        asyncio.get_running_loop().call_later(0.9 * delay, lambda: tasks.append(start(batcher, 2)))
        first = await tasks[0]
        second = await tasks[1]
    assert session.batches == [[1, 2]]
    assert 0.95 * delay < first.queue_seconds < 1.85 * delay  # from the second request it would be 1.9
    assert second.queue_seconds < first.queue_seconds


async def test_a_full_batch_does_not_wait_for_the_delay() -> None:
    async with batching(FakeSession(), delay=10, max_batch_size=2) as batcher:
        started = time.perf_counter()
        await asyncio.gather(start(batcher, 1), start(batcher, 2))
        assert time.perf_counter() - started < 5


async def test_what_waited_longer_than_the_delay_for_an_instance_waits_no_more() -> None:
    session = FakeSession(is_open=False)
    delay = 0.5
    async with batching(session, delay=delay, max_batch_size=2) as batcher:
        busy = [start(batcher, 0), start(batcher, 1)]
        await session.entered()
        late = start(batcher, 2)
        await asyncio.sleep(delay)
        session.gate.set()
        await asyncio.gather(*busy)
        new_window = asyncio.create_task(asyncio.sleep(delay))
        await asyncio.wait((late, new_window), return_when=asyncio.FIRST_COMPLETED)
        assert late.done()
        await new_window


@pytest.mark.parametrize(
    "runs", [{1: 0.006, 2: 0.0118}, {1: 0.004, 2: 0.0041}], ids=["never pays", "pays for a moment only"]
)
async def test_no_instance_idles_for_company_that_does_not_pay(runs: dict[int, float]) -> None:
    session = FakeSession()
    async with batching(session, delay=10, max_batch_size=2, costs=CostModel(1, runs)) as batcher:
        started = time.perf_counter()
        await start(batcher, 1)
        assert time.perf_counter() - started < 5
    assert session.batches == [[1]]


async def test_an_instance_waits_for_company_that_pays() -> None:
    session = FakeSession()
    async with batching(session, delay=10, max_batch_size=2, costs=CostModel(1, {1: 9.0, 2: 9.1})) as batcher:
        first = start(batcher, 1)
        await turns(20)
        assert session.batches == []
        assert await all_of([first, start(batcher, 2)]) == [1, 2]
    assert session.batches == [[1, 2]]


async def test_waiting_for_company_breaks_no_deadline() -> None:
    async with batching(FakeSession(), delay=10, max_batch_size=2) as batcher:
        assert await all_of([start(batcher, 1, now() + 2)]) == [1]


async def test_times_in_queue_and_model_are_told() -> None:
    session = FakeSession(is_open=False)
    async with batching(session) as batcher:
        running = start(batcher, 1)
        await session.entered()
        waiting = start(batcher, 2)
        await turns()
        await asyncio.sleep(0.05)
        session.gate.set()
        assert (await running).infer_seconds >= 0.05
        assert (await waiting).queue_seconds >= 0.05


# ---- leaving ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leaver", [0, 1, 2, 3])
async def test_a_cancelled_request_does_not_disturb_its_batch(leaver: int) -> None:
    session = FakeSession(is_open=False)
    async with batching(session) as batcher:
        tasks = [start(batcher, value) for value in range(4)]
        await session.entered()
        tasks[leaver].cancel()
        await turns()
        session.gate.set()
        answers = await all_of(tasks)
        assert isinstance(answers.pop(leaver), asyncio.CancelledError)
        assert answers == [value for value in range(4) if value != leaver]
        assert await all_of([start(batcher, 9)]) == [9]


async def test_a_cancelled_queued_request_is_never_computed() -> None:
    session = FakeSession(is_open=False)
    async with batching(session, max_batch_size=4) as batcher:
        blocker = start(batcher, 255)
        await session.entered()
        tasks = [start(batcher, value) for value in range(200)]
        await turns()
        for task in tasks[:150]:
            task.cancel()
        session.gate.set()
        answers = await all_of(tasks)
        await blocker
    assert all(isinstance(answer, asyncio.CancelledError) for answer in answers[:150])
    assert answers[150:] == list(range(150, 200))
    assert session.seen == [255, *range(150, 200)]


async def test_a_request_may_leave_in_any_turn_while_its_batch_is_formed() -> None:
    session = FakeSession()
    async with batching(session) as batcher:
        for wait in range(4):
            tasks = [start(batcher, value) for value in (1, 2)]
            await turns(wait)
            tasks[0].cancel()
            answers = await all_of(tasks)
            assert isinstance(answers[0], asyncio.CancelledError) or wait
            assert answers[1] == 2
        assert await all_of([start(batcher, 9)]) == [9]


async def test_a_queued_request_past_its_deadline_is_told_at_once_and_not_computed() -> None:
    session = FakeSession(is_open=False)
    async with batching(session) as batcher:
        blocker = start(batcher, 0)
        await session.entered()
        late, patient = start(batcher, 1, now() + 0.02), start(batcher, 2, now() + PATIENCE_SECONDS)
        with pytest.raises(DeadlineExceeded):  # while the only instance is still busy
            await late
        session.gate.set()
        assert await all_of([blocker, patient]) == [0, 2]
    assert session.seen == [0, 2]


async def test_a_deadline_that_has_already_passed_is_not_computed() -> None:
    session = FakeSession()
    async with batching(session) as batcher:
        with pytest.raises(DeadlineExceeded):
            await start(batcher, 1, now() - 1)
    assert session.seen == []


async def test_what_a_run_cannot_answer_in_time_is_told_so_before_its_deadline_and_not_computed() -> None:
    session = FakeSession()
    async with batching(session, costs=CostModel(1, {1: 60, 2: 60})) as batcher:
        late, patient = start(batcher, 1, now() + PATIENCE_SECONDS), start(batcher, 2, now() + 3600)
        with pytest.raises(DeadlineExceeded):
            await late
        assert await all_of([patient]) == [2]
    assert session.seen == [2]


async def test_where_none_can_be_answered_in_time_one_is_tried_because_costs_may_have_changed() -> None:
    session = FakeSession()
    async with batching(session, costs=CostModel(1, {1: 60, 2: 60})) as batcher:
        for _ in range(3):
            tasks = [start(batcher, value, now() + PATIENCE_SECONDS + value) for value in (1, 2)]
            answers = await all_of(tasks)
            assert isinstance(answers[0], DeadlineExceeded)
            assert answers[1] == 2


async def test_a_running_request_past_its_deadline_does_not_disturb_its_batch() -> None:
    session = FakeSession(is_open=False)
    async with batching(session) as batcher:
        late, patient = start(batcher, 1, now() + 0.3), start(batcher, 2)  # not so soon that it never runs
        await session.entered()
        with pytest.raises(DeadlineExceeded):
            await late
        session.gate.set()
        assert await all_of([patient]) == [2]
    assert session.batches == [[1, 2]]
