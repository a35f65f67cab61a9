"""How answers are sent; with one process and with several."""

import contextlib
import socket
import struct
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from tests.serving import commanded
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


@pytest.mark.parametrize("workers", [1, 2])
def test_an_answer_is_sent_in_one_piece(tmp_path: Path, workers: int) -> None:
    (tmp_path / "models").mkdir()
    with (
        commanded(tmp_path / "models", tmp_path / "log", workers, EMO_TUNE="false") as server,
        contextlib.closing(HTTPConnection("127.0.0.1", server.port, timeout=20)) as connection,
    ):
        connection.connect()
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
