"""The load generator, against a server that says what it is told to."""

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.load.generator import Load, request_bytes

ANSWER = b'{"label": 7}'
CLOSED_WITHOUT_A_WORD = 202


@contextmanager
def serving(*answers: tuple[int, dict[str, str], bytes]) -> Iterator[tuple[tuple[str, int], list[bytes]]]:
    """Its address and the bodies that came; the last answer is repeated."""
    bodies: list[bytes] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                status, headers, answer = answers[min(len(bodies), len(answers) - 1)]
                bodies.append(body)
            is_last = status == CLOSED_WITHOUT_A_WORD
            if is_last:  # the answer and the end come in one packet
                self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
            if is_last:
                self.connection.shutdown(socket.SHUT_WR)
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is the library's
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield ("127.0.0.1", server.server_address[1]), bodies
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def load(address: tuple[str, int], clients: int = 2) -> Load:
    return Load(address, request_bytes("http://server/x?y=1", b"photo" * 100_000), clients, b'"label":7}')


def test_answers_are_counted_timed_and_compared() -> None:
    answers = [(200, ANSWER), (200, b'{"label": 70}'), (500, b""), (200, ANSWER)]
    with serving(*((status, {}, answer) for status, answer in answers)) as (address, bodies):
        result = load(address).closed_loop(0.3)
    assert set(bodies) == {b"photo" * 100_000}
    assert result.statuses == Counter({200: len(bodies) - 1, 500: 1})
    assert (result.wrong, result.lost, result.unanswered) == (1, 0, 0)
    assert len(result.seconds) == len(bodies) - 1
    assert 0 < result.quantile(0.5) <= result.quantile(1.0)


def test_who_is_refused_comes_back_when_it_was_told_to() -> None:
    with serving((503, {"Retry-After": "60"}, b"")) as (address, bodies):
        result = load(address, clients=3).closed_loop(0.3)
    assert len(bodies) == 3
    assert result.statuses == Counter({503: 3})


def test_a_connection_that_the_server_closes_is_replaced() -> None:
    with serving((200, {"Connection": "close"}, ANSWER)) as (address, _):
        result = load(address).closed_loop(0.3)
    assert result.statuses[200] > 3
    assert result.lost == 0


def test_a_connection_that_ends_while_nobody_uses_it_is_no_loss_and_its_client_is_there_once() -> None:
    with serving((CLOSED_WITHOUT_A_WORD, {}, ANSWER)) as (address, bodies):
        result = load(address, clients=2).open_loop(1.0, rate=100)
    assert result.statuses == Counter({CLOSED_WITHOUT_A_WORD: len(bodies)})
    assert (result.lost, result.unanswered) == (0, 0)


def test_requests_by_chance_come_at_their_rate_whatever_became_of_earlier_ones() -> None:
    with serving((200, {}, ANSWER)) as (address, bodies):
        result = load(address, clients=16).open_loop(1.0, rate=50)
    assert len(bodies) == pytest.approx(50, abs=20)
    assert result.statuses[200] == len(bodies)
