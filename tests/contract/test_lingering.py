"""Who is refused while it uploads gets to know that, and why."""

import socket

import pytest

from tests.contract.conftest import MAX_REQUEST_BYTES
from tests.serving import Running


def exchange(port: int, path: str, size: int, sent: int) -> bytes:
    """All that comes back for a body of ``size`` bytes, read only when ``sent`` of them are on their way."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: image/png\r\nContent-Length: {size}"
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(head.encode() + b"\r\n\r\n")
        for _ in range(0, sent, 10_000):
            connection.sendall(bytes(10_000))
        if sent < size:
            connection.shutdown(socket.SHUT_WR)
        while received := connection.recv(65536):
            answer += received
    return answer


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [
        ("/nowhere", 200_000, b"404"),
        ("/classify", MAX_REQUEST_BYTES + 200_000, b"413"),
        ("/classify?top_k=none", 200_000, b"422"),
    ],
)
def test_a_refusal_reaches_a_client_that_sends_its_whole_body_first(
    server: Running, path: str, size: int, status: bytes
) -> None:
    for _ in range(10):
        answer = exchange(server.port, path, size, sent=size)
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert answer.endswith(b"}")


def test_a_client_that_breaks_off_holds_nothing_up(server: Running) -> None:
    assert exchange(server.port, "/nowhere", 200_000, sent=50_000).startswith(b"HTTP/1.1 404")
