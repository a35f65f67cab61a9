import asyncio
from collections.abc import Callable

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from emo_serve.api.http.admission import AdmissionMiddleware
from emo_serve.api.http.body_budget import BodyBudget, Reservation
from emo_serve.api.http.middleware import RequestMiddleware
from emo_serve.errors import QueueFull
from emo_serve.metrics.definitions import Metrics
from tests.helpers.asgi import Client

pytestmark = pytest.mark.anyio


def limited(max_bytes: int, seen: Callable[[bytes], None]) -> ASGIApp:
    async def read(scope: Scope, receive: Receive, send: Send) -> None:
        async for chunk in Request(scope, receive).stream():
            seen(chunk)
        await PlainTextResponse("read")(scope, receive, send)

    return RequestMiddleware(AdmissionMiddleware(read, []), Metrics(), asyncio.Event(), max_bytes)


@pytest.mark.parametrize("length", ["11", "9" * 30])
async def test_a_body_that_says_it_is_too_long_is_refused_before_it_is_read(length: str) -> None:
    client = Client()
    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"content-length", length.encode())]}
    await limited(10, print)(scope, client.receive, client.send)
    assert client.status == 413
    assert client.reads_before_answer == 0  # what comes after the answer is thrown away


async def test_a_body_of_exactly_the_limit_passes() -> None:
    transport = httpx.ASGITransport(limited(10, lambda _: None))
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        assert (await client.post("/", content=b"0123456789")).status_code == 200


def test_what_a_request_holds_grows_and_is_given_back_once() -> None:
    budget = BodyBudget(10)
    reservation = Reservation(budget)
    reservation.hold(4)
    reservation.hold(7)
    reservation.hold(5)  # less than before gives nothing back
    assert budget.held == 7
    for _ in range(2):
        reservation.release()
        assert budget.held == 0


def test_a_part_of_a_budget_counts_in_the_whole_and_is_refused_where_either_is_full() -> None:
    whole = BodyBudget(10)
    part = BodyBudget(6, whole)
    part.take(4)
    assert (part.held, whole.held) == (4, 4)
    with pytest.raises(QueueFull):
        part.take(3)
    whole.take(5)
    with pytest.raises(QueueFull):
        part.take(2)
    assert (part.held, whole.held) == (4, 9)
    part.give_back(4)
    assert (part.held, whole.held) == (0, 5)


def test_what_does_not_fit_is_refused_until_others_have_ended() -> None:
    budget = BodyBudget(10)
    one, other = Reservation(budget), Reservation(budget)
    other.hold(3)
    one.hold(7)
    with pytest.raises(QueueFull, match="have 10 bytes, 10 are allowed; 2 more do not fit") as refused:
        other.hold(5)
    assert refused.value.retry_after_seconds == 1
    assert budget.held == 10
    one.release()
    other.release()
    Reservation(budget).hold(10)
