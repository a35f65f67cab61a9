"""Refusals, retries and deadlines, against a server that the test writes itself."""

import asyncio
import contextlib
import json
import pickle
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator

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


def drip() -> Iterator[bytes]:
    while True:
        time.sleep(0.05)
        yield b" "


async def drip_later() -> AsyncIterator[bytes]:
    while True:
        await asyncio.sleep(0.05)
        yield b" "


def test_an_answer_that_never_ends_is_given_up_in_time() -> None:
    server = Server(httpx.Response(200, content=drip()))
    with client_of(server, timeout=0.3) as client, pytest.raises(Unreachable, match="in time"):
        client.classify(b"picture")

    async def ask() -> None:
        transport = httpx.MockTransport(lambda _: httpx.Response(200, content=drip_later()))
        async with AsyncClient("http://server", timeout=0.3, transport=transport) as client:
            with pytest.raises(Unreachable, match="in time"):
                await client.classify(b"picture")

    asyncio.run(ask())


Behaviour = Callable[[socket.socket], None]


def drip_head(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        connection.sendall(b"a")
        time.sleep(0.05)


def drip_body(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.05)


def only_announce(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 50)


def read_slowly(connection: socket.socket) -> None:
    while connection.recv(256):
        time.sleep(0.05)


def answer_once_then_drip(connection: socket.socket) -> None:
    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"models": []}')
    connection.recv(65_536)
    drip_head(connection)


@contextlib.contextmanager
def server_that(behaves: Behaviour) -> Iterator[str]:
    """The address of a server that has read the beginning of a request and goes on like this."""

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.recv(256)
            behaves(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("behaves", [drip_head, drip_body, only_announce, read_slowly])
def test_a_server_that_never_stops_beginning_is_given_up_in_time(behaves: Behaviour) -> None:
    large = bytes(20_000_000)
    with server_that(behaves) as url:
        began = time.monotonic()
        with Client(url, timeout=0.5) as client, pytest.raises(Unreachable):
            client.classify(large)

        async def ask() -> None:
            async with AsyncClient(url, timeout=0.5) as client:
                with pytest.raises(Unreachable):
                    await client.classify(large)

        asyncio.run(ask())
        assert time.monotonic() - began < 30  # without an end it would take hours


@pytest.mark.parametrize("behaves", [drip_head, drip_body, only_announce])
def test_an_address_of_a_picture_that_never_ends_is_given_up_in_time(behaves: Behaviour) -> None:
    with server_that(behaves) as url, Client(url, timeout=0.5) as client, pytest.raises(Unreachable, match=url):
        client.classify(f"{url}/cat.jpg")


def test_a_connection_that_is_kept_ends_in_time_too() -> None:
    with server_that(answer_once_then_drip) as url, Client(url, timeout=3, retries=0) as client:
        assert client.models() == []
        with pytest.raises(Unreachable, match=r"in time|timed out"):
            client.models()


def test_errors_pass_from_one_process_to_another() -> None:
    for error in (Problem(503, BUSY), Unreachable("gone")):
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301  our own
        assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://server", "http://", "http://a:port", "/x"])
def test_what_is_no_address_of_a_server_is_named(url: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(ValueError, match="is no address"):
            kind(url)


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
