import asyncio
import time
from contextlib import ExitStack

import pytest

from app.engine.admission import Admission
from app.errors import QueueFull, ShuttingDown

pytestmark = pytest.mark.anyio


async def test_the_limit_is_held_and_a_place_comes_back_whatever_happens() -> None:
    admission = Admission("toy", 1)

    def fail() -> None:
        with admission.admit():
            with pytest.raises(QueueFull), admission.admit():
                pass
            raise RuntimeError

    for _ in range(3):
        with pytest.raises(RuntimeError):
            fail()


async def test_retry_after_is_between_a_second_and_a_minute() -> None:
    admission = Admission("toy", 3)
    for _ in range(10):
        with admission.admit():
            pass
    with admission.admit(), admission.admit(), admission.admit():
        with pytest.raises(QueueFull) as refused, admission.admit():
            pass
        assert refused.value.retry_after_seconds is not None
        assert 1 <= refused.value.retry_after_seconds <= 60


async def test_retry_after_follows_the_recent_rate() -> None:
    admission = Admission("toy", 50)
    before = time.monotonic()
    with admission.admit():
        pass
    released = time.monotonic()
    await asyncio.sleep(0.1)
    with ExitStack() as places:
        for _ in range(50):
            places.enter_context(admission.admit())
        least = time.monotonic() - released
        with pytest.raises(QueueFull) as refused, admission.admit():
            pass
        most = time.monotonic() - before
    assert refused.value.retry_after_seconds is not None
    assert min(50 * least, 60) <= refused.value.retry_after_seconds <= 50 * most  # one image in about 0.1 seconds


async def test_a_closed_admission_refuses_but_carries_on_what_it_admitted() -> None:
    admission = Admission("toy", 1)
    with admission.admit():
        admission.close()
        drained = asyncio.create_task(admission.drained())
        with pytest.raises(ShuttingDown), admission.admit():
            pass
        with admission.carry_on():
            await asyncio.sleep(0)
        assert not drained.done()
    await drained
