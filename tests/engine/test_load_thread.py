"""Models are loaded by one thread, unless that is left behind."""

import asyncio
import threading

import pytest

from emo_serve.engine.registry.load_thread import LoadThread

pytestmark = pytest.mark.anyio


async def test_all_models_are_loaded_by_one_thread() -> None:
    thread = LoadThread()
    found = [await thread.run(threading.get_ident) for _ in range(3)]
    assert len({*found}) == 1
    assert threading.get_ident() not in found
    thread.close()


async def test_a_load_that_never_ends_does_not_hold_up_the_next_one() -> None:
    thread, gate = LoadThread(), threading.Event()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await thread.run(gate.wait)
    assert await thread.run(lambda: "loaded") == "loaded"
    gate.set()
    thread.close()
