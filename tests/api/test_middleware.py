import asyncio
import gc
import logging
import re
import weakref

import httpx
import pytest
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from emo_serve.api.http.exchange import Exchange, server_timing
from emo_serve.api.http.middleware import RequestMiddleware
from emo_serve.logs import request_id
from emo_serve.metrics.definitions import Metrics
from emo_serve.vision.results import Timings
from tests.helpers.asgi import Client, never

pytestmark = pytest.mark.anyio


async def get(app: ASGIApp, headers: dict[bytes, bytes] | None = None) -> httpx.Response:
    transport = httpx.ASGITransport(RequestMiddleware(app, Metrics(), asyncio.Event(), 1000))
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        return await client.get("/path", headers=headers)


def exchange(scope: Scope) -> Exchange:
    own: Exchange = scope["state"]["exchange"]
    return own


def timings(*seconds: float, scale: int = 1) -> Timings:
    names = ("decode", "preprocess", "queue", "infer", "postprocess", "total")
    return Timings(dict(zip(names, seconds, strict=True)), scale)


async def echo_id(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse(request_id.get() or "")(scope, receive, send)


async def test_a_sane_request_id_is_taken_and_echoed() -> None:
    response = await get(echo_id, {b"X-Request-Id": b"from.the_client-1"})
    assert response.headers["X-Request-Id"] == response.text == "from.the_client-1"


@pytest.mark.parametrize("given", [b"", b"x" * 129, b"with space", b'quote"', b"a\tb", b"\xfc", b"1;2"])
async def test_another_request_id_is_replaced(given: bytes) -> None:
    response = await get(echo_id, {b"X-Request-Id": given})
    assert response.headers["X-Request-Id"] == response.text
    assert re.fullmatch("[0-9a-f]{32}", response.text)


async def test_concurrent_requests_keep_their_own_ids() -> None:
    together = asyncio.Barrier(3)

    async def wait_and_echo(scope: Scope, receive: Receive, send: Send) -> None:
        await together.wait()
        await echo_id(scope, receive, send)

    responses = await asyncio.gather(*(get(wait_and_echo, {b"X-Request-Id": str(n).encode()}) for n in range(3)))
    assert [response.text for response in responses] == ["0", "1", "2"]


async def test_server_timing_sums_the_stages_of_all_images_and_gives_the_wall_total() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        exchange(scope).timings.extend([timings(0.001, 0.002, 0.003, 0.004, 0.005, 9)] * 2)
        await PlainTextResponse("done")(scope, receive, send)

    timing = (await get(app)).headers["Server-Timing"]
    assert timing.startswith(
        "decode;dur=2.000, preprocess;dur=4.000, queue;dur=6.000, infer;dur=8.000, postprocess;dur=10.000, total;dur="
    )
    assert float(timing.rpartition("=")[2]) < 9000


async def test_server_timing_names_the_fractions_at_which_images_were_decoded() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        exchange(scope).timings.extend(timings(0.001, 0, 0, 0, 0, 1, scale=scale) for scale in (4, 1, 2, 4))
        await PlainTextResponse("done")(scope, receive, send)

    timing = (await get(app)).headers["Server-Timing"]
    assert timing.startswith('decode;dur=4.000;desc="1/2 1/4", preprocess;dur=0.000, ')


def test_server_timing_of_an_error_has_the_total() -> None:
    assert server_timing({}, 0.0125) == "total;dur=12.500"


async def test_an_unexpected_error_is_a_500_problem_that_tells_only_the_request_id(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        msg = "secret"
        raise RuntimeError(msg)

    response = await get(app, {b"X-Request-Id": b"abc"})
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["request_id"] == response.headers["X-Request-Id"] == "abc"
    assert "secret" not in response.text
    assert "total;dur=" in response.headers["Server-Timing"]
    assert any(record.exc_info and "secret" in str(record.exc_info[1]) for record in caplog.records)


async def test_each_request_is_one_log_line_with_status_and_timings(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        exchange(scope).timings.append(timings(0.001, 0.002, 0.003, 0.004, 0.005, 1))
        await PlainTextResponse("done", 202)(scope, receive, send)

    with caplog.at_level(logging.INFO, "emo_serve.access"):
        await get(app)
    (record,) = (record.__dict__ for record in caplog.records if record.name == "emo_serve.access")
    assert (record["method"], record["path"], record["status"], record["images"]) == ("GET", "/path", 202, 1)
    assert record["infer_ms"] == 4.0
    assert record["duration_ms"] > 0


async def test_a_client_that_left_is_logged_as_499_and_gets_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise ClientDisconnect

    scope = {"type": "http", "method": "GET", "path": "/path", "headers": []}
    with caplog.at_level(logging.INFO, "emo_serve.access"):
        await RequestMiddleware(app, metrics := Metrics(), asyncio.Event(), 1000)(scope, Client().receive, never)
    assert caplog.records[-1].__dict__["status"] == 499
    counted = {"method": "GET", "route": "other", "status": "none"}
    assert metrics.registry.get_sample_value("emo_http_request_seconds_count", counted) == 1


async def test_what_the_server_holds_for_a_request_is_freed_with_it() -> None:
    class Cycle(Client):
        """A server's connection: it knows the scope, and the application receives from it."""

        def __init__(self) -> None:
            super().__init__([b""])
            self.scope: dict[str, object] = {"type": "http", "method": "GET", "path": "/path", "headers": []}

    cycle = Cycle()
    gone = weakref.ref(cycle)
    gc.disable()
    try:
        await RequestMiddleware(echo_id, Metrics(), asyncio.Event(), 1000)(cycle.scope, cycle.receive, cycle.send)
        del cycle
        assert gone() is None
    finally:
        gc.enable()


async def test_an_idle_connection_keeps_nothing_of_its_last_request_but_what_was_sent() -> None:
    class Model:
        pass

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        model = scope["state"]["call"] = Model()
        models.append(weakref.ref(model))
        await echo_id(scope, receive, send)

    client = Client([b""])
    models: list[weakref.ref[Model]] = []
    scope = {"type": "http", "method": "GET", "path": "/path", "headers": [], "state": {"of the server": 1}}
    await RequestMiddleware(app, Metrics(), asyncio.Event(), 1000)(scope, client.receive, client.send)
    assert scope["path"] == "/path"  # the server still has it
    assert [model() for model in models] == [None]
