"""A load of HTTP requests on one address, from one process that takes little of the cores.

    python -m bench.load http://127.0.0.1:8000/classify photo.jpg --clients 32 --seconds 5 [--rate 80]

Clients keep their connections and have one request under way each. Without ``--rate`` each sends the next as soon as it
has an answer, or when a refusal's Retry-After has passed; with it, requests come by chance (Poisson) at that rate
whatever became of earlier ones, and times are counted from the moment at which they should have been sent. One JSON
object is printed.
"""

import argparse
import contextlib
import json
import random
import re
import selectors
import socket
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

MOST_CLIENTS = 2048
MOST_SECONDS = 120.0
PATIENCE_SECONDS = 10.0  # for the last answers
_SEND_BUFFER = 1024 * 1024
_BOUNDARY = "bench-7MA4YWxkTrZu0gW"
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_RETRY = re.compile(rb"retry-after: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"connection: *close", re.IGNORECASE)


@dataclass(slots=True)
class Result:
    """What came back; seconds of the answers with status 200, sorted."""

    statuses: Counter[int] = field(default_factory=Counter)
    lost: int = 0  # connections that ended, or were refused, in the middle of a request
    wrong: int = 0  # answers with status 200 that do not say what was expected
    unanswered: int = 0
    rate: float = 0.0  # good answers a second, within the time of the load
    seconds: list[float] = field(default_factory=list)

    def quantile(self, share: float) -> float:
        """Milliseconds within which this share was answered."""
        return self.seconds[min(len(self.seconds) - 1, int(share * len(self.seconds)))] * 1000 if self.seconds else 0.0


@dataclass(slots=True)
class _Client:
    link: socket.socket | None = None
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    received: bytearray = field(default_factory=bytearray)
    began: float = 0.0
    is_waiting: bool = False
    rests_until: float = 0.0


class Load:
    """Used once."""

    def __init__(self, address: tuple[str, int], request: bytes, clients: int, expected: bytes) -> None:
        """Send ``request`` as it is; a good answer's body contains ``expected``, spaces aside."""
        self._address = address
        self._request = request
        self._expected = expected
        self._selector = selectors.DefaultSelector()
        self._clients = [_Client() for _ in range(clients)]
        self._result = Result()
        self._end = 0.0

    def closed_loop(self, seconds: float) -> Result:
        """Every client sends again as soon as it can."""
        self._end = time.perf_counter() + seconds
        idle = list(self._clients)
        while (now := time.perf_counter()) < self._end:
            resting = [client for client in idle if client.rests_until > now]
            for client in idle:
                if client.rests_until <= now:
                    self._begin(client, now)
            until = min((client.rests_until for client in resting), default=self._end)
            idle = resting + self._turn(min(until, self._end) - time.perf_counter())
        return self._finish(seconds)

    def open_loop(self, seconds: float, rate: float) -> Result:
        """Requests begin by chance; while all clients wait for answers, later ones are late, which counts."""
        chance = random.Random(1)  # noqa: S311  moments, not secrets
        began = time.perf_counter()
        self._end = began + seconds
        due = began + chance.expovariate(rate)
        idle = deque(self._clients)
        while due < self._end:
            now = time.perf_counter()
            while idle and due <= now and due < self._end:
                self._begin(idle.popleft(), due)
                due += chance.expovariate(rate)
            idle.extendleft(self._turn(max(0.0, due - now) if idle else 0.05))  # a connection that is there is used
        return self._finish(seconds)

    def _finish(self, seconds: float) -> Result:
        until = time.perf_counter() + PATIENCE_SECONDS
        while any(client.is_waiting for client in self._clients) and time.perf_counter() < until:
            self._turn(0.1)
        result = self._result
        result.unanswered = sum(client.is_waiting for client in self._clients)
        result.rate /= seconds
        result.seconds.sort()
        for client in self._clients:
            if client.link is not None:
                client.link.close()
        return result

    def _begin(self, client: _Client, moment: float) -> None:
        if client.link is not None and _has_ended(client.link):
            self._close(client)
        client.began, client.is_waiting = moment, True
        client.unsent = memoryview(self._request)
        client.received.clear()
        if client.link is None:
            client.link = socket.socket()
            client.link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # A photo fits in whole, so that sending takes one call and nobody has to wait for room.
            client.link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            client.link.setblocking(False)  # noqa: FBT003  the function's own signature
            client.link.connect_ex(self._address)
            self._selector.register(client.link, selectors.EVENT_WRITE, client)
        else:
            try:
                self._send(client)
            except OSError:  # the server has ended it: the next turn finds that too
                self._selector.modify(client.link, selectors.EVENT_WRITE, client)

    def _turn(self, seconds: float) -> list[_Client]:
        """Send and receive what can be; gives the clients that are free again."""
        free = []
        for key, events in self._selector.select(max(0.0, seconds)):
            client: _Client = key.data
            try:
                if events & selectors.EVENT_WRITE:
                    self._send(client)
                elif self._receive(client):
                    free.append(client)
            except OSError:
                if client.is_waiting:  # else it is free already, and the server has ended a connection that nobody used
                    self._result.lost += 1
                    free.append(client)
                self._close(client)
        return free

    def _send(self, client: _Client) -> None:
        assert client.link is not None  # noqa: S101  it is registered
        with contextlib.suppress(BlockingIOError):
            client.unsent = client.unsent[client.link.send(client.unsent) :]
        wanted = selectors.EVENT_WRITE if client.unsent else selectors.EVENT_READ
        self._selector.modify(client.link, wanted, client)  # costs nothing where nothing changes

    def _receive(self, client: _Client) -> bool:
        """Whether the answer is whole."""
        assert client.link is not None  # noqa: S101  it is registered
        piece = client.link.recv(65536)
        if not piece:
            raise ConnectionResetError
        client.received += piece
        head, gap, body = bytes(client.received).partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not gap or length is None or len(body) < int(length[1]):
            return False
        retry = _RETRY.search(head)
        self._note(client, int(head[9:12]), body, int(retry[1]) if retry else 0)
        if _CLOSE.search(head):
            self._close(client)
        return True

    def _note(self, client: _Client, status: int, body: bytes, retry_seconds: int) -> None:
        now = time.perf_counter()
        client.is_waiting = False
        self._result.statuses[status] += 1
        if status != 200:
            client.rests_until = now + retry_seconds
            return
        self._result.seconds.append(now - client.began)
        self._result.rate += now <= self._end
        self._result.wrong += self._expected not in body.replace(b" ", b"")

    def _close(self, client: _Client) -> None:
        if client.link is not None:
            self._selector.unregister(client.link)
            client.link.close()
        client.link, client.is_waiting = None, False


def _has_ended(link: socket.socket) -> bool:
    """Whether the server has ended a connection on which nothing is to come."""
    try:
        return not link.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


def request_bytes(url: str, photo: bytes, multipart: str = "") -> bytes:
    """A POST of the photo, as it is or as the part ``multipart`` of a form."""
    parts = urlsplit(url)
    kind, body = "image/jpeg", photo
    if multipart:
        disposition = f'Content-Disposition: form-data; name="{multipart}"; filename="photo.jpg"'
        opening = f"--{_BOUNDARY}\r\n{disposition}\r\nContent-Type: image/jpeg\r\n\r\n"
        kind, body = f"multipart/form-data; boundary={_BOUNDARY}", b"%b%b\r\n--%b--\r\n"
        body %= (opening.encode(), photo, _BOUNDARY.encode())
    path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: application/json\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def main() -> None:
    """Read the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("photo", type=Path)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rate", type=float, help="requests a second, by chance")
    parser.add_argument("--multipart", default="", help="name of the form's part; without it the body is the photo")
    parser.add_argument("--expected", default="", help="what a good answer contains, written without spaces")
    options = parser.parse_args()
    url = urlsplit(options.url)
    if not 0 < options.clients <= MOST_CLIENTS or not 0 < options.seconds <= MOST_SECONDS:
        parser.error(f"at most {MOST_CLIENTS} clients and {MOST_SECONDS:g} seconds")
    request = request_bytes(options.url, options.photo.read_bytes(), options.multipart)
    load = Load((url.hostname or "", url.port or 80), request, options.clients, options.expected.encode())
    result = load.open_loop(options.seconds, options.rate) if options.rate else load.closed_loop(options.seconds)
    quantiles = {f"p{share * 100:g}": round(result.quantile(share), 2) for share in (0.5, 0.95, 0.99)}
    counts = {"lost": result.lost, "wrong": result.wrong, "unanswered": result.unanswered}
    figures = {"rate": round(result.rate, 2), **quantiles, "worst": round(result.quantile(1.0), 2), **counts}
    print(json.dumps({"statuses": result.statuses, **figures}))


if __name__ == "__main__":
    main()
