"""Work that ends when the client that it is for leaves."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect

from emo_serve.api.http.exchange import Exchange

T = TypeVar("T")


async def while_connected(exchange: Exchange, work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` gives; when the client leaves before, the work is cancelled and ClientDisconnect raised.

    The body must have been read, so that there is nothing to receive but that the client left.
    """
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  a coroutine runs in a task
    at_work, has_left = True, False

    def leave() -> None:
        nonlocal has_left
        if at_work:
            has_left = True
            task.cancel()

    stop = _watch(exchange, leave)
    try:
        return await work
    except asyncio.CancelledError:
        if has_left and not task.uncancel():
            raise ClientDisconnect from None
        raise
    finally:
        at_work = False
        stop()


def _watch(exchange: Exchange, leave: Callable[[], None]) -> Callable[[], object]:
    """Have ``leave`` called when the client has left, until what is given is called."""
    connection = exchange.connection
    if connection is None:
        return asyncio.ensure_future(_wait(exchange, leave)).cancel
    if connection.is_lost:
        leave()
    connection.on_lost = leave
    return partial(setattr, connection, "on_lost", None)


async def _wait(exchange: Exchange, leave: Callable[[], None]) -> None:
    with suppress(Exception):  # a connection that fails has ended too
        while (await exchange.receive())["type"] != "http.disconnect":
            pass
    leave()
