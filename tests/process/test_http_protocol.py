"""How answers are sent; with one process and with several."""

import contextlib
import socket
import struct
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse

import pytest

from tests.serving import Command, commanded
from tests.support import encode_image, plain

IMAGE = encode_image(plain("red"))
PACKETS_WITH_DATA = 152  # where Linux tells how many have come, in struct tcp_info


def packets(connection: HTTPConnection) -> int:
    """How many packets with data have come over the connection."""
    assert connection.sock is not None
    info = connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, PACKETS_WITH_DATA + 4)
    number: int = struct.unpack_from("=I", info, PACKETS_WITH_DATA)[0]
    return number


def read(connection: HTTPConnection) -> tuple[HTTPResponse, bytes]:
    response = connection.getresponse()
    return response, response.read()


@pytest.fixture(scope="module", params=[1, 2])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """With one process and with several."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "models").mkdir()
    with commanded(folder / "models", folder / "log", request.param, EMO_TUNE="false") as server:
        yield server


@pytest.fixture
def connection(server: Command) -> Iterator[HTTPConnection]:
    with contextlib.closing(HTTPConnection("127.0.0.1", server.port, timeout=20)) as connection:
        connection.connect()
        yield connection


def test_an_answer_is_sent_in_one_piece(connection: HTTPConnection) -> None:
    for number in range(1, 6):
        connection.request("POST", "/classify", IMAGE, {"Content-Type": "image/png"})
        response, body = read(connection)
        assert response.status == 200
        assert body
        assert packets(connection) == number
    connection.request("POST", "/classify", b"no image", {"Content-Type": "image/png"})
    response, _ = read(connection)
    assert response.status == 415
    assert packets(connection) == 6
    connection.request("GET", "/livez", headers={"Connection": "close"})
    response, body = read(connection)
    assert response.status == 200
    assert body


def test_a_head_after_which_no_body_comes_is_sent_all_the_same(connection: HTTPConnection) -> None:
    for _ in range(2):  # the connection stays open
        connection.request("HEAD", "/livez")
        response, body = read(connection)
        assert (response.status, body) == (200, b"")


def test_who_asks_before_sending_a_body_is_told_to_go_on_at_once(connection: HTTPConnection) -> None:
    link = connection.sock
    assert link is not None
    head = f"POST /classify HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {len(IMAGE)}\r\n"
    link.sendall(f"{head}Content-Type: image/png\r\nConnection: close\r\n\r\n".encode())
    assert link.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
    link.sendall(IMAGE)
    answer = b"".join(iter(lambda: link.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b'"classifications"' in answer


def test_a_client_of_http_1_0_is_told_nothing_before_its_answer(connection: HTTPConnection) -> None:
    assert connection.sock is not None
    head = f"POST /classify HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: {len(IMAGE)}\r\n"
    connection.sock.sendall(f"{head}Content-Type: image/png\r\n\r\n".encode() + IMAGE)
    assert connection.sock.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
