"""One request and its answer, as they pass between the server and the application."""

import asyncio
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from emo_serve.vision.results import Timings

_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_PROTECTION = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
# Nothing here is a page, whatever a browser takes it for; the one that is brings a policy of its own.
_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_LINGER_SECONDS = 5.0


CONNECTION = "emo.connection"
"""The extension of an ASGI scope under which a server may give the ``Connection``."""


class Connection(Protocol):
    """What a server can tell of a connection, so that no task has to wait for it."""

    is_lost: bool
    has_all: bool
    """Whether the bodies of all requests that began on it have come, read or not."""
    on_lost: Callable[[], None] | None
    """Called when it ends."""
    fault: Exception | None
    """What is wrong with the running request, as the server found: with its head, or while its body came."""

    @property
    def is_ending(self) -> bool:
        """Whether the answer to the running request is to be the last."""
        ...

    def discard_body(self) -> None:
        """Keep nothing of what still comes of the running request."""


class Exchange:
    """Bounds what comes in, adds to what goes out, and remembers of both what the log and the metrics tell.

    An answer that goes out before the body was read still reaches the client: to close a connection on which unread
    bytes arrive resets it, and a reset takes the answer with it. So its end is held back while ``linger`` reads on.
    """

    __slots__ = (
        "_announced",
        "_drain",
        "_is_held",
        "_is_read",
        "_max_bytes",
        "_receive",
        "_received",
        "_send",
        "began",
        "connection",
        "headers",
        "request_id",
        "stages",
        "status",
        "timings",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, max_bytes: int, drain: asyncio.Event) -> None:
        """A body of more than ``max_bytes`` is not received; when ``drain`` is set, the connection ends after this."""
        self.began = time.perf_counter()
        self.connection: Connection | None = scope.get("extensions", {}).get(CONNECTION)
        self.headers: dict[bytes, bytes] = dict(reversed(scope["headers"]))
        """By name in lower case; of several with one name the first."""
        given = self.headers.get(b"x-request-id", b"")
        # An id is no secret, and uuid4 asks the system for randomness, which takes 80 microseconds.
        self.request_id = given.decode() if _SANE_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
        self.timings: list[Timings] = []
        """Where the time of each answered image went; whoever answers puts it here."""
        self.stages: Mapping[str, float] = {}
        """Stage -> seconds, summed over the images, once the answer's head is out."""
        self.status: int | None = None
        """None while no answer is out."""
        self._receive = receive
        self._send = send
        self._max_bytes = max_bytes
        self._drain = drain
        self._announced = announced_bytes(self.headers)
        self._received = 0
        self._is_read = not self._announced and b"transfer-encoding" not in self.headers
        self._is_held = False

    def check_wire(self) -> None:
        """Raise what the server found wrong with what has come."""
        if self.connection is not None and self.connection.fault is not None:
            raise self.connection.fault

    def check_size(self) -> None:
        """Raise HTTPException 413 where the body is too large by its Content-Length."""
        if self._announced > self._max_bytes:
            raise self._too_large()

    async def receive(self) -> Message:
        """The next piece of the body; raises HTTPException 413 as soon as it has grown too far, and what is broken."""
        message = await self._receive()
        self.check_wire()
        if not message.get("more_body", False):
            self._is_read = True
        self._received += len(message.get("body", b""))
        if self._received > self._max_bytes:
            raise self._too_large()
        return message

    async def send(self, message: Message) -> None:
        """Pass a piece of the answer on, its head with the headers that every answer has."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = self._framed(message.get("headers", ()))
        elif not message.get("more_body", False) and not self.has_come:
            self._is_held = True
            message = {**message, "more_body": True}
        await self._send(message)

    async def lingering_close(self) -> None:
        """Where the end of the answer is held back: read on for up to 5 seconds, throw that away, and let it out."""
        if not self._is_held:
            return
        if self.connection is not None:
            self.connection.discard_body()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while (await self._receive()).get("more_body", False):  # to the end of the body, or of the client
                    pass
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    @property
    def has_come(self) -> bool:
        """Whether nothing of the body can arrive any more."""
        return self._is_read or (self.connection is not None and self.connection.has_all)

    def _framed(self, headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        self.stages = stage_seconds(self.timings)
        scales = sorted({timings.scale for timings in self.timings} - {1})
        timing = server_timing(self.stages, time.perf_counter() - self.began, scales)
        framed = [
            *headers,
            (b"x-request-id", self.request_id.encode()),
            *_PROTECTION,
            (b"server-timing", timing.encode()),
        ]
        if _POLICY[0] not in dict(headers):
            framed.append(_POLICY)
        if self._drain.is_set() or (self.connection is not None and self.connection.is_ending):
            framed.append((b"connection", b"close"))  # the next request goes elsewhere
        return framed

    def _too_large(self) -> HTTPException:
        return HTTPException(413, f"The request body is larger than the {self._max_bytes} bytes that are allowed.")


def exchange_of(scope: Mapping[str, Any]) -> Exchange:
    """The exchange that an ASGI scope belongs to."""
    exchange = scope["state"]["exchange"]
    if not isinstance(exchange, Exchange):
        raise TypeError(exchange)
    return exchange


def announced_bytes(headers: Mapping[bytes, bytes]) -> int:
    """The Content-Length; 0 where there is none."""
    length = headers.get(b"content-length", b"").strip(b" \t")
    return int(length.lstrip(b"0")[:20] or b"0") if length.isdigit() else 0


def stage_seconds(timings: Sequence[Timings]) -> dict[str, float]:
    """Stage -> seconds, summed over the images; without ``total``, which is the request's own."""
    sums: dict[str, float] = {}
    for stages in [image.stages() for image in timings]:
        sums = {stage: sums.get(stage, 0.0) + seconds for stage, seconds in stages.items()} if sums else stages
    sums.pop("total", None)
    return sums


def server_timing(stages: Mapping[str, float], total: float, scales: Sequence[int] = ()) -> str:
    """The Server-Timing header: each stage and the total, in milliseconds; with decode the fractions 1 / scale."""
    fractions = f';desc="{" ".join(f"1/{scale}" for scale in scales)}"' if scales else ""
    entries = [
        f"{stage};dur={seconds * 1000:.3f}{fractions if stage == 'decode' else ''}" for stage, seconds in stages.items()
    ]
    return ", ".join([*entries, f"total;dur={total * 1000:.3f}"])
