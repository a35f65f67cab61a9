"""Clients that keep their connections are spread anew where workers have too many or too few of them."""

import contextlib
import http.client
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from emo_serve.process.http_protocol import HttpProtocol
from tests.attack.supervision import lasting_load
from tests.helpers.processes import connect, connections_of
from tests.process.wire import IMAGE
from tests.serving import Command, commanded, eventually, running, runs, settings_for

REQUEST = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n%b" % (
    len(IMAGE),
    IMAGE,
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Command]:
    (tmp_path / "models").mkdir()
    with commanded(tmp_path / "models", tmp_path / "log", workers=2) as server:
        eventually(lambda: len(server.workers()) == 2)
        yield server


def asked(connection: http.client.HTTPConnection) -> bool:
    """Ask, and connect anew where the answer closes the connection; whether it did."""
    connection.request("POST", "/classify", IMAGE, {"Content-Type": "image/png"})
    response = connection.getresponse()
    response.read()
    assert response.status == 200
    return response.will_close


def test_when_a_worker_was_replaced_the_connections_are_spread_again_and_no_request_is_lost(server: Command) -> None:
    idle = [connections_of(worker) for worker in server.workers()]
    with lasting_load(server) as load:
        eventually(lambda: load.answers > 100)
        first, second = server.workers()
        os.kill(second, signal.SIGKILL)
        eventually(lambda: not runs(second))
        eventually(lambda: len(server.workers()) == 2)
        lost = load.lost
        eventually(lambda: all(connections_of(worker) - idle[0] in range(7, 10) for worker in server.workers()))
        seen = load.answers
        eventually(lambda: load.answers > seen + 200)
        assert load.lost == lost <= 8 + 8  # those that were under way, and perhaps once more in the same moment
        assert load.closed <= 16
        assert first in server.workers()


def test_where_the_clients_of_one_worker_have_left_the_others_are_spread(server: Command) -> None:
    with contextlib.ExitStack() as closing:
        clients = [connect(server) for _ in range(16)]
        for client in clients:
            closing.callback(client.close)
        idle = [connections_of(worker) - 8 for worker in server.workers()]
        for client in clients[::2]:  # all of one worker
            client.close()
        stay = clients[1::2]
        closed = 0

        def is_even() -> bool:
            nonlocal closed
            closed += sum(map(asked, stay))
            found = [connections_of(worker) - count for worker, count in zip(server.workers(), idle, strict=True)]
            return sorted(found) == [4, 4]

        eventually(is_even)
        assert closed == 4
        assert not any(asked(client) for client in stay for _ in range(5))  # and nothing more is closed


def test_the_last_of_the_requests_that_came_together_ends_a_connection_that_is_to_end(tmp_path: Path) -> None:
    with (
        running(settings_for(tmp_path)) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=20) as client,
        client.makefile("rb") as answers,
    ):
        client.sendall(REQUEST)
        assert not closes(answers)
        (connection,) = server.server.server_state.connections
        assert isinstance(connection, HttpProtocol)
        connection.is_shed = True
        client.sendall(REQUEST * 3)
        assert [closes(answers) for _ in range(3)] == [False, False, True]
        assert answers.read() == b""


def closes(answers: BinaryIO) -> bool:
    """True if the next answer, which is a good one, is the last on its connection."""
    assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
    head = b"".join(iter(answers.readline, b"\r\n")).lower()
    assert answers.read(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
    return b"connection: close" in head
