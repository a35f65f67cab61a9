"""Work that ends when its client disconnects."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from starlette.requests import ClientDisconnect

from emo_serve.api.http.exchange import Exchange


@contextmanager
def cancel_on_disconnect(exchange: Exchange) -> Iterator[None]:
    """Cancel what is awaited inside when the client disconnects, and raise ClientDisconnect instead.

    The body must have been read, so that nothing can be received but the disconnect.
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
        yield
    except asyncio.CancelledError:
        if has_left and not task.uncancel():
            raise ClientDisconnect from None
        raise
    finally:
        at_work = False
        stop()


def _watch(exchange: Exchange, leave: Callable[[], None]) -> Callable[[], object]:
    """Have ``leave`` called when the client disconnects; returns what ends that."""
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
