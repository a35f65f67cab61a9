"""What happens to the queue when there is too much to do, or when clients leave."""

import asyncio
import base64
from pathlib import Path

import httpx
import pytest

from emo_serve.settings import Batching
from tests.serving import Gates, Running, running, settings_for, until
from tests.support import encode_image, plain

pytestmark = pytest.mark.anyio
GOOD = encode_image(plain("red"))
PNG = {"content-type": "image/png"}
REQUEST = (
    b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(GOOD), GOOD)
)


def sample(server: Running, name: str, **labels: str) -> float:
    value = server.services.metrics.registry.get_sample_value(name, {"model": "toy-classifier", **labels})
    return value or 0.0


async def test_cancelled_requests_are_not_computed(tmp_path: Path) -> None:
    gates = Gates()
    batching = Batching(max_batch_size=1, instances=1, max_queue_size=1000)
    with running(settings_for(tmp_path, batching=batching), gates.open_session) as server:
        session = gates.sessions["toy-classifier"]
        before = session.computed
        session.gate.clear()
        first = await asyncio.open_connection("127.0.0.1", server.port)
        first[1].write(REQUEST)
        await until(lambda: session.waiting)
        others = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(199)]
        for _, writer in others:
            writer.write(REQUEST)
        await until(lambda: sample(server, "emo_queue_depth") == 199)
        for _, writer in others[:150]:
            writer.transport.abort()
        await until(lambda: sample(server, "emo_cancelled_total") == 150)
        session.gate.set()
        answers = [await reader.read() for reader, _ in [first, *others[150:]]]
        assert [answer[:15] for answer in answers] == [b"HTTP/1.1 200 OK"] * 50
        assert session.computed - before == 50
        assert sample(server, "emo_requests_total", task="classify", outcome="ok") == 50
        for _, writer in [first, *others[150:]]:
            writer.close()


async def test_a_full_queue_is_503_with_retry_after_at_once(tmp_path: Path) -> None:
    gates = Gates()
    batching = Batching(max_batch_size=1, instances=1, max_queue_size=2)
    with running(settings_for(tmp_path, batching=batching), gates.open_session) as server:
        session = gates.sessions["toy-classifier"]
        session.gate.clear()
        async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
            waiting = [asyncio.create_task(client.post("/classify", content=GOOD, headers=PNG)) for _ in range(2)]
            await until(lambda: sample(server, "emo_queue_depth") == 1)
            refused = await client.post("/classify", content=GOOD, headers=PNG)
            text = base64.b64encode(GOOD).decode()
            several = await client.post("/classify", json={"images": [text, text]})
            session.gate.set()
            answered = await asyncio.gather(*waiting)
        for response in (refused, several):
            assert response.status_code == 503
            assert response.json()["type"] == "urn:emo-serve:problem:queue-full"
            assert int(response.headers["Retry-After"]) >= 1
        assert [response.status_code for response in answered] == [200, 200]


async def test_an_answer_that_comes_too_late_is_504(tmp_path: Path) -> None:
    gates = Gates()
    with running(settings_for(tmp_path, request_timeout_seconds=0.3), gates.open_session) as server:
        gates.sessions["toy-classifier"].gate.clear()
        async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
            response = await client.post("/classify", content=GOOD, headers=PNG)
        gates.sessions["toy-classifier"].gate.set()
    assert response.status_code == 504
    assert response.json()["type"] == "urn:emo-serve:problem:deadline-exceeded"


async def test_the_deadline_of_a_request_is_its_clients_and_what_cannot_make_it_is_refused_at_once(
    tmp_path: Path,
) -> None:
    gates = Gates()
    batching = Batching(max_batch_size=1, instances=1)
    with running(settings_for(tmp_path, batching=batching, decode_threads=1), gates.open_session) as server:
        session = gates.sessions["toy-classifier"]
        async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:

            async def ask(timeout_ms: int) -> httpx.Response:
                headers = PNG | {"X-Request-Timeout-Ms": str(timeout_ms)}
                return await client.post("/classify", content=GOOD, headers=headers)

            session.gate.clear()
            slow = asyncio.create_task(ask(20_000))
            await until(lambda: session.waiting)
            late = await ask(300)  # nothing was measured yet, so it is let in
            await asyncio.sleep(0.2)
            session.gate.set()
            assert (await slow).status_code == 200  # now half a second is known to be what an image takes
            session.gate.clear()
            slow = asyncio.create_task(ask(20_000))
            await until(lambda: session.waiting)
            waiting = asyncio.create_task(ask(20_000))
            await until(lambda: sample(server, "emo_queue_age_seconds") > 0)
            refused = await ask(300)
            session.gate.set()
            assert (await slow).status_code == (await waiting).status_code == 200
    assert late.status_code == 504
    assert late.json()["type"] == "urn:emo-serve:problem:deadline-exceeded"
    assert refused.status_code == 503
    assert refused.json()["type"] == "urn:emo-serve:problem:overloaded"
    assert int(refused.headers["Retry-After"]) >= 1
    assert 0 < refused.json()["retry_after_ms"] <= int(refused.headers["Retry-After"]) * 1000
    assert sample(server, "emo_rejections_total", reason="deadline") == 1


async def test_what_was_accepted_is_answered_when_the_server_stops(tmp_path: Path) -> None:
    gates = Gates()
    batching = Batching(max_batch_size=1, instances=1)
    with running(settings_for(tmp_path, batching=batching), gates.open_session) as server:
        session = gates.sessions["toy-classifier"]
        session.gate.clear()
        async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
            waiting = [asyncio.create_task(client.post("/classify", content=GOOD, headers=PNG)) for _ in range(20)]
            await until(lambda: sample(server, "emo_queue_depth") == 19)
            server.server.should_exit = True
            await until(lambda: not any(listener.is_serving() for listener in server.server.servers))
            session.gate.set()
            answered = await asyncio.gather(*waiting)
    assert [response.status_code for response in answered] == [200] * 20


async def test_who_closes_only_the_sending_side_is_waited_for_and_who_leaves_is_not(tmp_path: Path) -> None:
    gates = Gates()
    with running(settings_for(tmp_path), gates.open_session) as server:
        session = gates.sessions["toy-classifier"]
        session.gate.clear()
        (stays, stays_to), (_, leaves_to) = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
        for writer in (stays_to, leaves_to):
            writer.write(REQUEST)
        stays_to.write_eof()
        await until(lambda: session.waiting)
        leaves_to.close()
        await until(lambda: sample(server, "emo_cancelled_total") == 1)
        session.gate.set()
        async with asyncio.timeout(20):
            answer = await stays.read()
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.count(b"HTTP/1.1") == 1
        assert sample(server, "emo_cancelled_total") == 1
        stays_to.close()
