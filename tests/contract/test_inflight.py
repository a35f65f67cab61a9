"""All bodies that are being read or answered share one budget of bytes."""

import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.serving import Gates, Running, running, settings_for, until
from tests.support import encode_image

pytestmark = pytest.mark.anyio
PNG = {"content-type": "image/png"}
NOISE = np.random.default_rng(1).integers(0, 255, (120, 150, 3), np.uint8)
PHOTO = encode_image(NOISE)  # does not shrink: 54 kB
BUDGET = len(PHOTO) * 3 // 2


@pytest.fixture
def gates() -> Gates:
    return Gates()


@pytest.fixture
def server(tmp_path: Path, gates: Gates) -> Iterator[Running]:
    settings = settings_for(tmp_path, max_request_bytes=BUDGET, max_inflight_bytes=BUDGET)
    with running(settings, gates.open_session) as server:
        yield server


@pytest.fixture
async def client(server: Running, anyio_backend: str) -> AsyncIterator[httpx.AsyncClient]:  # noqa: ARG001  for anyio
    async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
        yield client


def half_an_upload(server: Running, body: bytes = PHOTO) -> socket.socket:
    """A connection on which the first half of a body has been sent."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    head = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n" % len(body)
    connection.sendall(head + body[: len(body) // 2])
    return connection


def held(server: Running) -> float:
    return server.services.metrics.registry.get_sample_value("emo_inflight_bytes") or 0.0


def assert_refused(response: httpx.Response) -> None:
    assert response.status_code == 503
    assert response.json()["type"] == "urn:emo-serve:problem:queue-full"
    assert response.headers["Retry-After"] == "1"
    assert f"{BUDGET} are allowed" in response.json()["detail"]


@pytest.mark.parametrize("end", ["answer", "error", "disconnect"])
async def test_an_upload_that_does_not_fit_is_refused_at_once_until_the_one_before_has_ended(
    server: Running, client: httpx.AsyncClient, end: str
) -> None:
    body = PHOTO if end == "answer" else b"no image" * (len(PHOTO) // 8)
    with half_an_upload(server, body) as slow:
        await until(lambda: held(server) == len(body))
        assert_refused(await client.post("/classify", content=PHOTO, headers=PNG))
        if end != "disconnect":
            slow.sendall(body[len(body) // 2 :])
            assert slow.recv(12) == (b"HTTP/1.1 200" if end == "answer" else b"HTTP/1.1 415")
    await until(lambda: held(server) == 0)
    assert (await client.post("/classify", content=PHOTO, headers=PNG)).status_code == 200


async def test_a_body_is_held_until_its_answer(server: Running, client: httpx.AsyncClient, gates: Gates) -> None:
    session = gates.sessions["toy-classifier"]
    session.gate.clear()
    with half_an_upload(server) as slow:
        slow.sendall(PHOTO[len(PHOTO) // 2 :])
        await until(lambda: session.waiting)
        assert_refused(await client.post("/classify", content=PHOTO, headers=PNG))
        session.gate.set()
        assert slow.recv(12) == b"HTTP/1.1 200"
    await until(lambda: held(server) == 0)


async def test_a_chunked_body_is_refused_when_it_has_grown_too_far(server: Running, client: httpx.AsyncClient) -> None:
    async def pieces(size: int) -> AsyncIterator[bytes]:
        for start in range(0, size, 5000):
            yield PHOTO[start : min(start + 5000, size)]

    with half_an_upload(server):
        await until(lambda: held(server) == len(PHOTO))
        assert_refused(await client.post("/classify", content=pieces(len(PHOTO)), headers=PNG))
        assert (await client.post("/classify", content=pieces(10_000), headers=PNG)).status_code == 422
    await until(lambda: held(server) == 0)
    assert (await client.post("/classify", content=pieces(len(PHOTO)), headers=PNG)).status_code == 200


async def test_a_refused_body_is_counted(server: Running, client: httpx.AsyncClient) -> None:
    with half_an_upload(server):
        await until(lambda: held(server) == len(PHOTO))
        for path in ("/classify", "/detect", "/detect"):
            assert_refused(await client.post(path, content=PHOTO, headers=PNG))
    count = server.services.metrics.registry.get_sample_value
    for model, task, refused in (("toy-classifier", "classify", 1), ("toy-detector", "detect", 2)):
        assert count("emo_rejections_total", {"model": model, "reason": "inflight_bytes"}) == refused
        assert count("emo_requests_total", {"model": model, "task": task, "outcome": "unavailable"}) == refused


async def test_what_has_no_body_is_answered_all_the_same(server: Running, client: httpx.AsyncClient) -> None:
    with half_an_upload(server):
        await until(lambda: held(server) == len(PHOTO))
        assert (await client.get("/readyz")).status_code == 200
