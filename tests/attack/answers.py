"""Odd requests, each of which has one right answer."""

import contextlib
import shutil
import socket
import subprocess
from pathlib import Path

from tests.attack.attacking import CHUNKED, IMAGE, LAST, PICTURE, Finding, Server, attacked, head, statuses

OFFER = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA")
POST = head("POST", "/classify", *PICTURE)
ANSWERS = {
    "no request": (400, b"\x16\x03\x01\r\n\r\n"),
    "no host": (400, b"GET /livez HTTP/1.1\r\n\r\n"),
    "two hosts": (400, head("GET", "/livez", "Host: y")),
    "gzip, chunked": (501, CHUNKED.replace(b"chunked", b"gzip, chunked") + b"1\r\nx\r\n0\r\n\r\n"),
    "a length with many zeros": (413, head("POST", "/classify", f"Content-Length: {'0' * 40}9999999999")),
    "a deadline of 19 digits": (200, head("POST", "/classify", *PICTURE, f"X-Request-Timeout-Ms: {'9' * 19}") + IMAGE),
}


def offered_upgrades(checkout: Path) -> list[Finding]:
    """Requests that offer another protocol: with a body, with chunks, with others behind them, and those of curl."""
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(IMAGE), IMAGE)
    posts = {
        "h2c": head("POST", "/classify", *PICTURE, *OFFER) + IMAGE,
        "websocket": head("POST", "/classify", *PICTURE, *OFFER).replace(b"h2c", b"websocket") + IMAGE,
        "chunked": head("POST", "/classify", "Content-Type: image/png", "Transfer-Encoding: chunked", *OFFER) + chunks,
        "get": head("GET", "/livez", *OFFER),
    }
    with attacked(checkout) as server:
        wrong = sum(statuses(_answered(server, text * 2 + LAST)) != [200] * 3 for text in posts.values())
        curl = _curl(server) if shutil.which("curl") else True
    return [
        Finding(f"wrong answers to {len(posts)} offers of another protocol", wrong, "", 0),
        Finding("wrong answers to curl --http2", not curl, "", 0),
    ]


def _curl(server: Server) -> bool:
    command = ["curl", "-s", "--http2", "--max-time", "10", "--data-binary", "@-", "-H", "Content-Type: image/png"]
    url = f"http://127.0.0.1:{server.port}/classify"
    return b'"classifications"' in subprocess.run([*command, url], input=IMAGE, capture_output=True, check=False).stdout


def _answered(server: Server, text: bytes, *, half_closes: bool = False) -> bytes:
    answer = b""
    with contextlib.suppress(OSError), server.connected() as connection:
        connection.settimeout(2)
        connection.sendall(text)
        if half_closes:
            connection.shutdown(socket.SHUT_WR)
        while received := connection.recv(65_536):
            answer += received
    return answer


def odd_requests(checkout: Path) -> list[Finding]:
    """Requests at the edge of HTTP, the half-closed, and a second server on the same port."""
    wrong = 0
    with attacked(checkout, workers=2) as server:
        for status, text in ANSWERS.values():
            answer = _answered(server, text)
            is_traced = b"\r\nx-request-id: " in answer
            wrong += statuses(answer)[:1] != [status] or not is_traced
        half_closed = statuses(_answered(server, POST + IMAGE, half_closes=True))
    return [
        Finding(f"wrong answers to {len(ANSWERS)} odd requests", wrong, "", 0),
        Finding("a half-closed client's missing answers", half_closed != [200], "", 0),
    ]
