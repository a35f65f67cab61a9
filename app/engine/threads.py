"""Threads for what may never end: a model that is loaded, a folder on a server that does not answer."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar, TypeVarTuple

Ts = TypeVarTuple("Ts")
T = TypeVar("T")


async def in_daemon(function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Give ``function(*args)``, called in a thread of its own.

    Whoever is cancelled meanwhile leaves the thread to itself; not even the end of the process waits for it, as it
    would for those of ``asyncio.to_thread``.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if answer.done():  # cancelled
            return
        if error is None:
            answer.set_result(result)  # type: ignore[arg-type]  # it is what the function gave
        else:
            answer.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = function(*args)
        except Exception as raised:  # noqa: BLE001  # it is raised where it was called
            error = raised
        with suppress(RuntimeError):  # the event loop has ended, and nobody waits
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, daemon=True, name=getattr(function, "__name__", "daemon")).start()
    return await answer
