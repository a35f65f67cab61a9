"""Work ends when its client leaves, however the server tells that."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from emo_serve.api.http.disconnect import cancel_on_disconnect
from emo_serve.api.http.exchange import CONNECTION, Exchange
from tests.api.connections import Connection
from tests.engine.batching import turns

pytestmark = pytest.mark.anyio

T = TypeVar("T")


class Client:
    """Has sent its body; ``left`` is what a server without the extension tells."""

    def __init__(self, connection: Connection | None) -> None:
        self.left = asyncio.Event()
        self.connection = connection
        extensions = {} if connection is None else {CONNECTION: connection}
        scope = {"headers": [], "extensions": extensions}
        self.exchange = Exchange(scope, self._receive, self._send, 1000, asyncio.Event())

    def leave(self) -> None:
        if self.connection is None:
            self.left.set()
        elif self.connection.on_lost is not None:
            self.connection.on_lost()

    async def _receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        raise AssertionError(message)


@pytest.fixture(params=[True, False], ids=["told", "asked"])
def client(anyio_backend: str, request: pytest.FixtureRequest) -> Client:  # noqa: ARG001  makes anyio run this fixture
    return Client(Connection() if request.param else None)


async def cancelled_with(client: Client, work: Coroutine[Any, Any, T]) -> T:
    with cancel_on_disconnect(client.exchange):
        return await work


async def test_work_is_cancelled_when_its_client_leaves(client: Client) -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    task = asyncio.create_task(cancelled_with(client, work()))
    await turns()
    assert not ended
    client.leave()
    with pytest.raises(ClientDisconnect):
        await task
    assert ended
    assert not task.cancelling()


async def test_who_leaves_after_the_work_changes_nothing(client: Client) -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    async def ask() -> int:
        answer = await cancelled_with(client, work())
        client.leave()
        await turns()
        return answer

    assert await asyncio.create_task(ask()) == 7


async def test_a_cancellation_from_elsewhere_stays_one(client: Client) -> None:
    task = asyncio.create_task(cancelled_with(client, asyncio.Event().wait()))
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_has_left_before_costs_no_work() -> None:
    client = Client(Connection(is_lost=True))
    with pytest.raises(ClientDisconnect):
        await asyncio.create_task(cancelled_with(client, asyncio.Event().wait()))
