"""Work that ends when the client that it is for leaves."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect

from app.api.exchange import Exchange

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

    connection = exchange.connection
    watching = None
    if connection is None:
        watching = asyncio.ensure_future(_watch(exchange, leave))
    elif connection.is_lost:
        leave()
    else:
        connection.on_lost = leave
    try:
        return await work
    except asyncio.CancelledError:
        if has_left and not task.uncancel():
            raise ClientDisconnect from None
        raise
    finally:
        at_work = False
        if connection is not None:
            connection.on_lost = None
        elif watching is not None:
            watching.cancel()


async def _watch(exchange: Exchange, leave: Callable[[], None]) -> None:
    with suppress(Exception):  # a connection that fails has ended too
        while (await exchange.receive())["type"] != "http.disconnect":
            pass
    leave()
