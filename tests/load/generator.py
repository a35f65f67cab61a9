"""Load generator: one request, repeated by one thread that takes little of the cores.

Clients keep their connections and have one request under way each.
"""

import contextlib
import random
import re
import selectors
import socket
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.load.arrivals import poisson, quantile
from tests.load.clients import Post

PATIENCE_SECONDS = 10.0  # for the last answers
_SEND_BUFFER = 1024 * 1024
_BOUNDARY = "bench-7MA4YWxkTrZu0gW"
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_RETRY = re.compile(rb"retry-after: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"connection: *close", re.IGNORECASE)


@dataclass(slots=True)
class Result:
    """Outcomes; seconds of the answers with status 200."""

    statuses: Counter[int] = field(default_factory=Counter)
    lost: int = 0  # connections that ended, or were refused, in the middle of a request
    wrong: int = 0  # answers with status 200 that do not say what was expected
    unanswered: int = 0
    rate: float = 0.0  # good answers a second, within the time of the load
    seconds: list[float] = field(default_factory=list)

    def quantile(self, share: float) -> float:
        """Milliseconds within which this share was answered."""
        return quantile(self.seconds, share) * 1000


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
        began = time.perf_counter()
        self._end = began + seconds
        idle = deque(self._clients)
        for moment in poisson(random.Random(1), rate, seconds):
            due = began + moment
            while not idle or time.perf_counter() < due:
                wait = max(0.0, due - time.perf_counter()) if idle else 0.05
                idle.extendleft(self._turn(wait))  # a connection that is there is used
            self._begin(idle.popleft(), due)
        return self._finish(seconds)

    def _finish(self, seconds: float) -> Result:
        until = time.perf_counter() + PATIENCE_SECONDS
        while any(client.is_waiting for client in self._clients) and time.perf_counter() < until:
            self._turn(0.1)
        result = self._result
        result.unanswered = sum(client.is_waiting for client in self._clients)
        result.rate /= seconds
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
        assert client.link is not None
        with contextlib.suppress(BlockingIOError):
            client.unsent = client.unsent[client.link.send(client.unsent) :]
        wanted = selectors.EVENT_WRITE if client.unsent else selectors.EVENT_READ
        self._selector.modify(client.link, wanted, client)  # costs nothing where nothing changes

    def _receive(self, client: _Client) -> bool:
        """True if the answer is complete."""
        assert client.link is not None
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
    """True if the server has closed a connection on which nothing is due."""
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
    return Post(path, body, kind).message(parts.netloc, "Accept: application/json")
