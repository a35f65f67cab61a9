"""Refusals, retries and deadlines, against a server that the test writes itself."""

import json
from collections.abc import Callable

import httpx
import pytest
from emo_client import Client, Problem, Unreachable

ANSWER = {"model": {"name": "toy", "version": "1"}, "image": {"width": 2, "height": 2}, "classifications": []}
BUSY = {"type": "urn:emo-serve:problem:overloaded", "title": "busy", "status": 503, "detail": "too late"}


class Server:
    """Answers one request after another, each as it is told."""

    def __init__(self, *answers: httpx.Response | httpx.TransportError) -> None:
        self.requests: list[httpx.Request] = []
        self._answers = list(answers)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0)
        if isinstance(answer, httpx.TransportError):
            raise answer
        return answer


def good() -> httpx.Response:
    return httpx.Response(200, json=ANSWER)


def busy(**members: float) -> httpx.Response:
    return httpx.Response(503, headers={"Retry-After": "1"}, json={**BUSY, **members})


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    seconds: list[float] = []
    monkeypatch.setattr("emo_client.client.time.sleep", seconds.append)
    return seconds


def client_of(server: Callable[[httpx.Request], httpx.Response], timeout: float = 30.0, retries: int = 3) -> Client:
    return Client("http://server/vision", timeout=timeout, retries=retries, transport=httpx.MockTransport(server))


def test_a_refusal_is_retried_at_the_moment_that_it_names(waits: list[float]) -> None:
    server = Server(busy(retry_after_ms=340), good())
    with client_of(server) as client:
        client.classify(b"picture", top_k=3)
    assert waits == [0.34]
    first, second = server.requests
    assert first.content == second.content == b"picture"
    assert str(first.url) == "http://server/vision/classify?top_k=3"


def test_retry_after_counts_where_there_are_no_milliseconds(waits: list[float]) -> None:
    with client_of(Server(httpx.Response(429, headers={"Retry-After": "2"}, text="busy"), good())) as client:
        client.classify(b"picture")
    assert waits == [2.0]


def test_a_wait_beyond_the_timeout_is_not_begun(waits: list[float]) -> None:
    with client_of(Server(busy(retry_after_ms=5000)), timeout=2) as client, pytest.raises(Problem) as refused:
        client.classify(b"picture")
    assert refused.value.name == "overloaded"
    assert waits == []


def test_a_connection_that_breaks_is_tried_again_with_growing_waits(waits: list[float]) -> None:
    with client_of(Server(httpx.ConnectError("refused"), httpx.ReadError("reset"), good())) as client:
        client.classify(b"picture")
    assert waits == [0.25, 0.5]


def test_the_last_failure_is_raised_when_the_retries_are_used_up(waits: list[float]) -> None:
    server = Server(httpx.ConnectError("refused"), httpx.ConnectError("refused"))
    with client_of(server, retries=1) as client, pytest.raises(Unreachable, match="refused"):
        client.classify(b"picture")
    assert len(waits) == 1


@pytest.mark.parametrize("status", [400, 404, 413, 415, 422, 500, 503, 504])
def test_any_other_answer_is_final(status: int, waits: list[float]) -> None:
    document = {"type": "urn:emo-serve:problem:x-y", "title": "T", "detail": "why", "request_id": "7"}
    server = Server(httpx.Response(status, json=document))
    with client_of(server) as client, pytest.raises(Problem, match="why") as raised:
        client.classify(b"picture")
    assert (raised.value.status, raised.value.name, raised.value.request_id) == (status, "x-y", "7")
    assert len(server.requests) == 1
    assert waits == []


def test_an_error_of_a_proxy_is_a_problem_too() -> None:
    with client_of(Server(httpx.Response(502, text="<html>Bad Gateway</html>"))) as client:
        with pytest.raises(Problem, match="HTTP 502") as raised:
            client.classify(b"picture")
        assert raised.value.type == "about:blank"


def test_an_answer_that_is_no_json_is_named() -> None:
    with client_of(Server(httpx.Response(200, text="hello"))) as client, pytest.raises(Unreachable, match="no JSON"):
        client.models()


def test_the_server_is_told_how_long_the_answer_is_of_use(waits: list[float]) -> None:
    server = Server(busy(retry_after_ms=10), good())
    with client_of(server, timeout=4) as client:
        client.classify(b"picture")
    first, second = (int(request.headers["X-Request-Timeout-Ms"]) for request in server.requests)
    assert 3900 < second <= first <= 4000
    assert waits


def test_the_key_comes_from_the_environment_unless_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMO_CLIENT_API_KEY", "from-there")
    for given, sent in ((None, "Bearer from-there"), ("given", "Bearer given")):
        server = Server(good())
        with Client("http://server", api_key=given, transport=httpx.MockTransport(server)) as client:
            client.classify(b"picture")
        assert server.requests[0].headers["Authorization"] == sent


def test_members_that_newer_servers_add_are_ignored() -> None:
    server = Server(httpx.Response(200, content=json.dumps({**ANSWER, "new": 1}), headers={}))
    with client_of(server) as client:
        assert client.classify(b"picture").best is None
