import asyncio
import threading

import pytest

from emo_serve.engine.execution.pixel_threads import PixelWorkers
from emo_serve.errors import ImageUndecodable, InferenceFailed
from tests.engine.batching import turns
from tests.support import PATIENCE_SECONDS

pytestmark = pytest.mark.anyio


class Desk:
    """Work that waits for a gate and keeps what was begun."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.gate = threading.Event()

    def work(self, name: str) -> str:
        self.begun.append(name)
        assert self.gate.wait(timeout=PATIENCE_SECONDS)
        return name


async def test_work_that_is_cancelled_before_its_turn_never_begins() -> None:
    desk, workers = Desk(), PixelWorkers(threads=1)
    tasks = [asyncio.create_task(workers.run(desk.work, name)) for name in "abcd"]
    await turns()
    tasks[1].cancel()
    tasks[2].cancel()
    await turns()
    desk.gate.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert (answers[0], answers[3]) == ("a", "d")
    assert desk.begun == ["a", "d"]
    workers.close()


async def test_leaving_running_work_again_and_again_does_not_begin_more_than_there_are_threads() -> None:
    desk, workers = Desk(), PixelWorkers(threads=1)
    for name in "abcd":
        task = asyncio.create_task(workers.run(desk.work, name))
        await turns()
        task.cancel()
        await turns()
    assert desk.begun == ["a"]
    last = asyncio.create_task(workers.run(desk.work, "last"))
    desk.gate.set()
    assert await last == "last"
    assert desk.begun == ["a", "last"]
    workers.close()


async def test_the_last_step_of_an_image_goes_ahead_of_what_waits_for_its_turn() -> None:
    desk, workers = Desk(), PixelWorkers(threads=1)
    tasks = [asyncio.create_task(workers.run(desk.work, name)) for name in "abc"]
    await turns()
    first = asyncio.create_task(workers.run_first(desk.work, "first"))
    await turns()
    desk.gate.set()
    await asyncio.gather(*tasks, first)
    assert desk.begun == ["a", "first", "b", "c"]
    workers.close()


@pytest.mark.parametrize("error", [ValueError, StopIteration, SystemExit, MemoryError])
async def test_an_unexpected_exception_is_a_failure_of_ours_and_not_a_hang(error: type[BaseException]) -> None:
    def fail() -> None:
        raise error

    workers = PixelWorkers(threads=1)
    with pytest.raises(InferenceFailed) as failed:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await workers.run(fail)
    assert isinstance(failed.value.__cause__, error)
    workers.close()


async def test_what_the_client_can_mend_passes_through() -> None:
    def fail() -> None:
        msg = "truncated"
        raise ImageUndecodable(msg)

    workers = PixelWorkers(threads=1)
    with pytest.raises(ImageUndecodable, match="truncated"):
        await workers.run(fail)
    workers.close()
