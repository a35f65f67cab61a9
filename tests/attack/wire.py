"""Heads, chunks and pipelined requests of which there is no end."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.attack.attacking import (
    CHUNKED,
    LAST,
    LIVE,
    Finding,
    Neighbour,
    Server,
    attacked,
    cost_of,
    head,
    statuses,
)

MB = 1_000_000


def headers_times_chunks(checkout: Path) -> list[Finding]:
    """Many headers and a body in many pieces."""
    text = (
        head("POST", "/classify", *(f"h{n}: b" for n in range(20_000)), "Transfer-Encoding: chunked")
        + b"1\r\nx\r\n" * 20_000
    )
    fewer = (
        head("POST", "/classify", *(f"h{n}: b" for n in range(90)), "Transfer-Encoding: chunked")
        + b"1\r\nx\r\n" * 20_000
    )
    with attacked(checkout) as server, Neighbour(server) as neighbour:
        cpu, _ = cost_of(server, lambda: server.asked(text + b"0\r\n\r\n" + LAST))
        allowed, _ = cost_of(server, lambda: server.asked(fewer + b"0\r\n\r\n" + LAST))
    return [
        Finding("20,000 headers and 20,000 chunks of a byte", cpu, "s CPU", 0.5),
        Finding("90 headers and 20,000 chunks of a byte", allowed, "s CPU", 0.5),
        *neighbour.findings(),
    ]


HEADS = {
    "a header of 20 MB": lambda: (b"GET /livez HTTP/1.1\r\nHost: x\r\nX: ", b"x" * 20 * MB, b"\r\n\r\n"),
    "a million headers": lambda: (b"GET /livez HTTP/1.1\r\nHost: x\r\n", b"a: b\r\n" * MB, b"\r\n"),
    "a Content-Type of 700 kB": lambda: (
        b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Type: multipart/form-data",
        b"; a=b" * 140_000,
        b"\r\n\r\n",
    ),
    "a target of 20 MB": lambda: (b"GET /livez?", b"x" * 20 * MB, b" HTTP/1.1\r\nHost: x\r\n\r\n"),
    "empty lines of 20 MB": lambda: (b"\r\n" * 10 * MB,),
}


def endless_heads(checkout: Path) -> list[Finding]:
    """Heads of which there is no end."""
    return _each(checkout, HEADS)


CHUNKS = {
    "8 MB of chunks of a byte": lambda: (CHUNKED, b"1\r\nx\r\n" * (8 * MB // 6), b"0\r\n\r\n"),
    "8 MB of empty lines in a chunk": lambda: (CHUNKED, b"7a1200\r\n", b"\r\n" * (4 * MB), b"\r\n0\r\n\r\n"),
    "a chunk extension of 20 MB": lambda: (CHUNKED, b"1;", b"x" * 20 * MB),
    "a trailer of 20 MB": lambda: (CHUNKED, b"0\r\nX: ", b"x" * 20 * MB),
    "a million trailers": lambda: (CHUNKED, b"0\r\n", b"a: b\r\n" * MB),
    "a chunk size of 20 MB": lambda: (CHUNKED, b"0" * 20 * MB),
}


def endless_chunks(checkout: Path) -> list[Finding]:
    """Chunked bodies with more beside their data than in it."""
    return _each(checkout, CHUNKS)


def _each(checkout: Path, attacks: Mapping[str, Callable[[], Sequence[bytes]]]) -> list[Finding]:
    findings = []
    with attacked(checkout) as server, Neighbour(server) as neighbour:
        for name, pieces in attacks.items():
            cpu, memory = cost_of(server, lambda pieces=pieces: _sent(server, pieces()))  # type: ignore[misc]
            findings += [Finding(name, cpu, "s CPU", 0.5), Finding(f"{name}: memory", memory, "MB", 60)]
    return findings + neighbour.findings()


def _sent(server: Server, pieces: Sequence[bytes], seconds: float = 20) -> None:
    """Send it all, or as much as is taken in so many seconds, and hear the answer, if there is one."""
    end = time.monotonic() + seconds
    with contextlib.suppress(OSError), server.connected() as connection:
        connection.settimeout(2)
        with contextlib.suppress(OSError):
            for piece in pieces:
                for start in range(0, len(piece), 65_536):
                    if time.monotonic() > end:
                        break
                    connection.sendall(piece[start : start + 65_536])
        while time.monotonic() < end and connection.recv(65_536):
            pass


def pipelined_requests(checkout: Path) -> list[Finding]:
    """Many requests on one connection, whose client reads no answer for a while."""
    text = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n" * (4 * MB // 27)
    with attacked(checkout) as server, Neighbour(server) as neighbour:
        _, memory = cost_of(server, lambda: _sent(server, [text], seconds=4))
        answers = statuses(server.asked(LIVE * 200 + LAST)).count(200)
    return [
        Finding("4 MB of GET /a on a connection: memory", memory, "MB", 40),
        Finding("answers that are missing of 201 pipelined requests", 201 - answers, "", 0),
        *neighbour.findings(),
    ]
