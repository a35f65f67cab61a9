"""Bytes to a server and bytes back."""

import contextlib
import json
import socket
from dataclasses import dataclass
from typing import Any

from tests.support import PATIENCE_SECONDS, encode_image, plain

IMAGE = encode_image(plain("red"))
LIVE = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """One of the answers on a connection."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:  # noqa: ANN401  any JSON
        return json.loads(self.body)


def post(*headers: str, path: str = "/classify") -> bytes:
    """The head of a request with a picture."""
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", "Content-Type: image/png", *headers, "", ""]).encode()


def length(body: bytes) -> str:
    return f"Content-Length: {len(body)}"


HEAD = post(length(IMAGE))
"""Of a request with ``IMAGE``, which is to follow it."""


def chunked(body: bytes, size: int) -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def ask(port: int, *pieces: bytes, half_closes: bool = False) -> list[Answer]:
    """All answers on a connection of its own, until the server closes it."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(ConnectionError):  # it may be refused before it has sent all
            for piece in pieces:
                connection.sendall(piece)
            if half_closes:
                connection.shutdown(socket.SHUT_WR)
        return answers(b"".join(iter(lambda: connection.recv(65536), b"")))


def answers(text: bytes) -> list[Answer]:
    """The received answers, parsed; every answer but an interim one has its length."""
    found = []
    while text:
        head, _, text = text.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        number = int(status.split()[1])
        size = int(headers["content-length"]) if number >= 200 else 0
        found.append(Answer(number, headers, text[:size]))
        text = text[size:]
    return found


def trickle(connection: socket.socket, seconds: float) -> bytes:
    """Data until the server closes the connection, on which a byte is sent whenever nothing comes for so long."""
    connection.settimeout(seconds)
    text = b""
    while True:
        try:
            if not (received := connection.recv(65536)):
                return text
            text += received
        except TimeoutError:
            connection.sendall(b"x")
