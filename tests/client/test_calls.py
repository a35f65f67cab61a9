"""Refusals, retries and the deadline that is told, against a server that the test writes itself."""

import asyncio
import json
import pickle
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from emo_client import AsyncClient, Client, Problem, Unreachable

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


@pytest.mark.parametrize(
    ("milliseconds", "header", "waited"),
    [("-5", "1", [0.0]), ("NaN", "1", []), ("Infinity", "1", []), ("1" + "0" * 400, "1", [1.0]), ("[]", "2", [2.0])]
    + [("null", header, []) for header in ("soon", "nan", "inf", "Wed, 21 Oct 2099 07:28:00 GMT")],
)
def test_a_nonsensical_time_to_wait_is_no_fault_of_the_client(
    milliseconds: str, header: str, waited: list[float], waits: list[float]
) -> None:
    body = f'{{"detail": "busy", "retry_after_ms": {milliseconds}}}'
    refusal = httpx.Response(503, headers={"Retry-After": header}, content=body)
    with client_of(Server(refusal, good())) as client:
        if waited:
            client.classify(b"picture")
        else:
            with pytest.raises(Problem, match="busy"):
                client.classify(b"picture")
    assert waits == waited


def test_a_redirect_is_not_followed_with_the_key_and_names_where_to(waits: list[float]) -> None:
    server = Server(httpx.Response(308, headers={"Location": "https://elsewhere/vision/models"}))
    with client_of(server) as client, pytest.raises(Problem, match="redirects to https://elsewhere/vision/models"):
        client.models()
    assert len(server.requests) == 1
    assert waits == []


@pytest.mark.parametrize("body", ["[]", '"x"', "{}", '{"models": [{"name": 1}]}', "[" * 100_000])
def test_json_of_another_server_is_named(body: str) -> None:
    with client_of(Server(httpx.Response(200, text=body))) as client, pytest.raises(Unreachable, match="emo-serve"):
        client.models()


def test_an_answer_that_cannot_be_decoded_is_no_answer(waits: list[float]) -> None:
    broken = httpx.Response(200, headers={"Content-Encoding": "gzip"}, content=iter([b"no gzip"]))
    with client_of(Server(broken, good())) as client:
        assert client.classify(b"picture").best is None
    assert len(waits) == 1


def test_errors_pass_from_one_process_to_another() -> None:
    for error in (Problem(503, BUSY), Unreachable("gone")):
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301  our own
        assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


NO_ADDRESSES = ["http://", "http://a:port", "http://[::1", "http://a b", "http://a..b", "http://xn--", "http://a\0b"]
NO_ADDRESSES += [f"http://{'a' * 64}.de", "http://h:99999", "http://h:-1", "http://h:0", "http://h/\ud800"]


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://server", "/x", "http://h?model=a", "http://h/#top", *NO_ADDRESSES]
)
def test_what_is_no_address_of_a_server_is_named(url: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(ValueError, match="is no address of a server, as http://localhost:8000 is: ") as refused:
            kind(url)
        assert str(refused.value).startswith(repr(url))


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost",
        "HTTPS://h.example.:8000/vision/",
        "http://[::1]:8000",
        "http://[fe80::1%eth0]",
        "http://ü.de",
    ],
)
def test_every_spelling_of_an_address_is_taken(url: str) -> None:
    for kind in (Client, AsyncClient):
        kind(url)


@pytest.mark.parametrize("url", NO_ADDRESSES)
def test_what_is_no_address_of_a_picture_is_named(url: str) -> None:
    async def ask() -> None:
        async with AsyncClient("http://127.0.0.1:1", retries=0) as client:
            await client.classify(url)

    with client_of(Server()) as client, pytest.raises(Unreachable) as refused:
        client.classify(url)
    with pytest.raises(Unreachable) as refused_too:
        asyncio.run(ask())
    assert str(refused.value) == str(refused_too.value)
    assert str(refused.value).startswith(f"{url!r}: ")


@pytest.mark.parametrize("location", ["http://127.0.0.1:99999/", "http://a..b/", "http://[::1", "http://xn--/"])
def test_a_picture_that_redirects_to_no_address_is_unreachable(location: str) -> None:
    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", location)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep the output of the tests clean."""

    async def ask(address: str) -> None:
        async with AsyncClient("http://127.0.0.1:1", retries=0) as client:
            await client.classify(address)

    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as elsewhere:
        threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{elsewhere.server_port}/photo"
        with client_of(Server()) as client, pytest.raises(Unreachable, match=address):
            client.classify(address)
        with pytest.raises(Unreachable, match=address):
            asyncio.run(ask(address))
        elsewhere.shutdown()


def test_a_key_that_no_header_can_hold_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("geheim-ü", "geheim\nX: y"):
        with pytest.raises(ValueError, match="allowed are printable ASCII characters") as refused:
            Client("http://server", api_key=key)
        assert "geheim" not in str(refused.value)
    monkeypatch.setenv("EMO_CLIENT_API_KEY", "from-a-file\n")
    server = Server(good())
    with client_of(server) as client:
        client.classify(b"picture")
    assert server.requests[0].headers["Authorization"] == "Bearer from-a-file"
