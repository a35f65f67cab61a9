"""How the end of an answer is held back while its client still sends."""

import asyncio

import pytest

from emo_serve.api.http.exchange import CONNECTION, Exchange
from tests.api.connections import Connection
from tests.helpers.asgi import Client

pytestmark = pytest.mark.anyio


async def refused(connection: Connection | None) -> tuple[list[bool], int]:
    """Of an answer before the body was read: what each piece says of more to come, and how often was read on."""
    client = Client([b"picture"])
    extensions = {} if connection is None else {CONNECTION: connection}
    scope = {"type": "http", "headers": [(b"content-length", b"7")], "extensions": extensions}
    exchange = Exchange(scope, client.receive, client.send, 1000, asyncio.Event())
    await exchange.send({"type": "http.response.start", "status": 503})
    await exchange.send({"type": "http.response.body", "body": b"later", "more_body": False})
    if exchange.is_held:
        await exchange.lingering_close()
    return [message["more_body"] for message in client.sent if message["type"] == "http.response.body"], client.reads


@pytest.mark.parametrize("connection", [None, Connection(has_all=False)])
async def test_the_end_of_a_refusal_waits_until_the_body_has_been_read(connection: Connection | None) -> None:
    assert await refused(connection) == ([True, False], 1)
    assert connection is None or connection.discards


async def test_nothing_waits_for_a_body_that_has_come_already() -> None:
    assert await refused(Connection(has_all=True)) == ([False], 0)
