"""Clients in threads, each with a connection that it keeps; what they send, and what they get."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPMessage
from itertools import count
from typing import Self
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Post:
    """A body to be sent to ``path``, which may have a query."""

    path: str
    body: bytes
    content_type: str = "image/jpeg"

    def message(self, host: str = "x", *headers: str) -> bytes:
        """The whole request in one piece; ``headers`` as ``Name: value``."""
        own = (f"Host: {host}", f"Content-Type: {self.content_type}", f"Content-Length: {len(self.body)}")
        return "\r\n".join((f"POST {self.path} HTTP/1.1", *own, *headers, "", "")).encode() + self.body


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; status 0, and the reason as the body, if the connection failed."""

    status: int
    body: bytes
    headers: HTTPMessage = field(default_factory=HTTPMessage)

    @property
    def is_overload(self) -> bool:
        """True for the documented answer of a server that has too much to do."""
        return self.status == HTTPStatus.SERVICE_UNAVAILABLE and "Retry-After" in self.headers

    def __str__(self) -> str:
        return f"{self.status} {self.body[:200]!r}"


def connection(url: str) -> HTTPConnection:
    """A connection that stays open for many requests."""
    parts = urlsplit(url)
    return HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)


def send(http: HTTPConnection, post: Post) -> Answer:
    """The answer; the connection is closed where it fails, and opened again by the next request."""
    try:
        http.request("POST", post.path, post.body, {"Content-Type": post.content_type})
        response = http.getresponse()
        return Answer(response.status, response.read(), response.headers)
    except (OSError, HTTPException) as error:
        http.close()
        return Answer(0, repr(error).encode())


class Clients:
    """Clients that send from the start to the end of a ``with`` block, or of ``start`` and ``stop``.

    Without a ``rate`` each sends again as soon as it has an answer; with it, requests are due at fixed moments,
    whatever became of earlier ones.
    """

    def __init__(
        self,
        url: str,
        clients: int,
        post: Callable[[int], Post],
        note: Callable[[int, float, Answer], None],
        rate: float | None = None,
    ) -> None:
        """``post`` makes the request of a number, from 0; ``note`` gets the number, when it was due, and the answer.

        Moments are seconds since the start. One client notes at a time.
        """
        self._url = url
        self._post = post
        self._note = note
        self._rate = rate
        self._numbers = count()  # the next one is taken in one step, which no other thread can interrupt
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]
        self._began = 0.0

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    def start(self) -> None:
        """Begin to send."""
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send no more, and wait for the answers."""
        self._end.set()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *ended: object) -> None:
        self.stop()

    def _run(self) -> None:
        http = connection(self._url)
        for number in self._numbers:
            due = self.now if self._rate is None else number / self._rate
            if self._end.wait(max(0.0, due - self.now)):
                break
            answer = send(http, self._post(number))
            with self._lock:
                self._note(number, due, answer)
        http.close()
