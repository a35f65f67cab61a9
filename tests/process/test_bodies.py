"""How the application gets the body of a request, and how much of a client is kept."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.types import Message, Receive, Scope, Send
from uvicorn.server import ServerState

from emo_serve.api.http.exchange import CONNECTION
from emo_serve.process.http_protocol import HttpProtocol
from tests.serving import until
from tests.support import PATIENCE_SECONDS

pytestmark = pytest.mark.anyio
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"


class Application:
    """Keeps what it receives, after it was let."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.came: asyncio.Queue[Message] = asyncio.Queue()
        self.may_read = asyncio.Event()
        self.may_read.set()
        self.discards = False
        self.answer = b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        if self.discards:
            scope["extensions"][CONNECTION].discard_body()
        await self.may_read.wait()
        while True:
            self.messages.append(await receive())
            self.came.put_nowait(self.messages[-1])
            if not self.messages[-1].get("more_body"):
                break
        headers = [(b"content-length", b"%d" % len(self.answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self.answer})

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.messages)


@asynccontextmanager
async def connected(
    application: Application, state: ServerState | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    config = uvicorn.Config(application, ws="none", lifespan="off", log_config=None, access_log=False)
    state = state or ServerState()
    server = await asyncio.get_running_loop().create_server(lambda: HttpProtocol(config, state, {}), "127.0.0.1", 0)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            yield reader, writer
            writer.close()
    finally:
        server.close()


async def test_a_usual_body_comes_whole_in_however_many_pieces_it_is_sent() -> None:
    application, body = Application(), bytes(range(256)) * 400
    async with connected(application) as (reader, writer):
        for _ in range(2):  # the second over the same connection
            application.messages.clear()
            writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(body))
            for start in range(0, len(body), 30_000):
                writer.write(body[start : start + 30_000])
                await writer.drain()
                await asyncio.sleep(0.01)
            assert await reader.readuntil(b"\r\n\r\n")
            assert application.messages == [{"type": "http.request", "body": body, "more_body": False}]
            assert type(application.messages[0]["body"]) is bytes


async def test_a_large_body_comes_in_pieces_and_is_not_kept_for_an_application_that_does_not_read() -> None:
    application, body = Application(), bytes(range(256)) * 80_000
    application.may_read.clear()
    async with connected(application) as (reader, writer):
        writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await asyncio.sleep(0.2)
        application.may_read.set()
        assert await reader.readuntil(b"\r\n\r\n")
    assert application.body == body
    assert len(application.messages) > 5
    assert max(len(message["body"]) for message in application.messages) < 2_000_000


async def test_a_body_that_is_discarded_is_not_kept_and_that_of_the_next_request_comes_whole() -> None:
    application, body = Application(), bytes(range(256)) * 800
    application.discards = True
    async with connected(application) as (reader, writer):
        for expected in (b"", body):
            application.messages.clear()
            application.may_read.clear()
            writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(body))
            await asyncio.sleep(0.1)
            writer.write(body)
            await asyncio.sleep(0.1)
            application.may_read.set()
            assert await reader.readuntil(b"\r\n\r\n")
            assert application.messages == [{"type": "http.request", "body": expected, "more_body": False}]
            application.discards = False


async def test_a_body_of_unknown_length_comes_as_it_is_sent() -> None:
    application = Application()
    async with connected(application) as (reader, writer):
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for chunk in (b"one", b"two"):
            writer.write(b"3\r\n" + chunk + b"\r\n")
            assert (await application.came.get())["body"] == chunk
        writer.write(b"0\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n")


async def test_a_client_that_breaks_off_in_its_body_is_seen_to_have_left() -> None:
    application = Application()
    async with connected(application) as (_, writer):
        writer.write(HEAD + b"Content-Length: 1000\r\n\r\n" + bytes(500))
        await writer.drain()
        writer.close()
        assert await application.came.get() == {"type": "http.disconnect"}


async def test_what_waits_behind_a_request_is_bounded_and_each_answer_lets_no_more_in_than_may_wait() -> None:
    application, state = Application(), ServerState()
    application.may_read.clear()
    text, count = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n", 30_000
    async with connected(application, state) as (reader, writer):
        writer.write(text * count)
        await asyncio.sleep(0.2)
        (connection,) = state.connections
        assert isinstance(connection, HttpProtocol)
        most = 0
        application.may_read.set()
        answers = 0
        while answers < count:
            answers += (await reader.read(65536)).count(b"HTTP/1.1 200")
            most = max(most, len(connection._unparsed))
            assert not connection.pipeline
        assert most <= 64 * 1024 + 256 * 1024  # what may wait, and what is read at once


async def test_a_client_that_takes_nothing_of_its_answer_is_left_after_a_while_and_a_slow_one_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("emo_serve.process.transport._STALL_SECONDS", 0.3)
    application, state = Application(), ServerState()
    application.answer = bytes(30_000_000)
    async with connected(application, state) as (reader, writer):
        writer.write(HEAD + b"Content-Length: 0\r\nConnection: close\r\n\r\n")
        received = 0
        while piece := await reader.read(500_000):
            received += len(piece)
            await asyncio.sleep(0.01)
        assert received > len(application.answer)
    async with connected(application, state) as (reader, writer):
        writer.write(HEAD + b"Content-Length: 0\r\n\r\n")
        await until(lambda: bool(state.connections))
        await until(lambda: not state.connections)  # the client reads nothing
