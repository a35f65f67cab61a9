"""Many deadlines on one timer."""

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from emo_serve.engine.scheduling.deadlines import Deadlines
from emo_serve.errors import DeadlineExceeded

pytestmark = pytest.mark.anyio
FOR_EVER = 60.0


def now() -> float:
    return asyncio.get_running_loop().time()


async def waiting(deadlines: Deadlines, seconds: float, work: float = FOR_EVER) -> str:
    try:
        with deadlines.before(now() + seconds):
            await asyncio.sleep(work)
    except DeadlineExceeded:
        return "late"
    return "in time"


async def test_each_ends_at_its_own_deadline_whatever_their_order() -> None:
    deadlines, ended = Deadlines(), []

    async def one(seconds: float) -> None:
        assert await waiting(deadlines, seconds) == "late"
        ended.append(seconds)

    began = now()
    await asyncio.gather(*map(one, (0.2, 0.05, 0.3, 0.1)))
    assert ended == [0.05, 0.1, 0.2, 0.3]
    assert 0.29 <= now() - began < 1


async def test_one_that_came_and_went_does_not_delay_those_after_it() -> None:
    deadlines = Deadlines()
    assert await waiting(deadlines, 0.05, work=0) == "in time"
    assert await waiting(deadlines, FOR_EVER, work=0) == "in time"
    began = now()
    assert await waiting(deadlines, 0.1) == "late"
    assert await waiting(deadlines, 0.1) == "late"  # the timer was set, and rang, for others before
    assert 0.19 <= now() - began < 1


async def test_a_deadline_that_has_passed_ends_what_waits_at_once() -> None:
    assert await asyncio.wait_for(waiting(Deadlines(), -1), 1) == "late"
    assert await waiting(Deadlines(), -1, work=0) in ("late", "in time")


async def test_without_a_deadline_nothing_is_ended() -> None:
    with Deadlines().before(None):
        await asyncio.sleep(0.01)


async def test_the_caller_says_what_is_raised() -> None:
    with pytest.raises(LookupError), Deadlines().within(0, LookupError):
        await asyncio.sleep(FOR_EVER)


async def test_who_is_cancelled_by_somebody_else_stays_cancelled() -> None:
    deadlines = Deadlines()
    task = asyncio.create_task(waiting(deadlines, FOR_EVER))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_is_cancelled_when_the_deadline_passes_stays_cancelled_too() -> None:
    deadlines = Deadlines()

    async def one() -> None:
        with deadlines.before(now() + 0.01):
            try:
                await asyncio.sleep(FOR_EVER)
            except asyncio.CancelledError:
                task.cancel()  # both reasons at the same time
                raise

    task = asyncio.create_task(one())
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("inner", [0.01, 0.3])
async def test_of_two_around_the_same_work_the_earlier_one_speaks(inner: float) -> None:
    deadlines = Deadlines()
    with (
        pytest.raises(LookupError if inner < 0.1 else DeadlineExceeded),
        deadlines.before(now() + 0.1),
        deadlines.within(inner, LookupError),
    ):
        await asyncio.sleep(FOR_EVER)


async def test_a_task_that_ended_in_time_is_not_kept() -> None:
    deadlines = Deadlines()
    task = asyncio.create_task(waiting(deadlines, FOR_EVER, work=0))
    await task
    remembered = weakref.ref(task)
    gc.disable()
    try:
        del task
        await asyncio.sleep(0)
        assert remembered() is None
    finally:
        gc.enable()


class _CountingLoop:
    """Counts the timers that are set on the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.timers = 0
        self._call_at = loop.call_at

    def call_at(self, when: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:  # noqa: ANN401  as asyncio has it
        self.timers += 1
        return self._call_at(when, callback, *args)


async def test_a_thousand_requests_one_after_another_need_one_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    counting, deadlines = _CountingLoop(loop), Deadlines()
    monkeypatch.setattr(loop, "call_at", counting.call_at)
    for _ in range(1000):
        with deadlines.before(now() + FOR_EVER):
            pass
    assert counting.timers == 1
