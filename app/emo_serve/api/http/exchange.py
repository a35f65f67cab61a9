"""One HTTP request and its response, as they pass between the server and the application."""

import asyncio
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from typing import Protocol

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from emo_serve.api.http.body_budget import Reservation
from emo_serve.engine.scheduling.deadlines import Deadlines
from emo_serve.manifest import Manifest
from emo_serve.vision.results import Timings

_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_POLICY = b"content-security-policy"
_PROTECTION = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (_POLICY, b"default-src 'none'; frame-ancestors 'none'"),
)
"""No response is a web page, whatever a browser takes it for; those that are have a policy of their own."""
_LINGER_SECONDS = 5.0


CONNECTION = "emo.connection"
"""Key of the ASGI scope extension that holds the server's ``Connection``, if the server provides one."""


class Connection(Protocol):
    """State of a connection as the server knows it, so that no task has to wait for changes."""

    is_lost: bool
    has_all: bool
    """True once the bodies of all requests that began on the connection have arrived, read or not."""
    on_lost: Callable[[], None] | None
    """Called when the connection ends."""
    fault: Exception | None
    """An error that the server found in the current request, in its head or in its body."""

    @property
    def is_ending(self) -> bool:
        """True if the response to the current request is the last one on this connection."""
        ...

    def discard_body(self) -> None:
        """Discard what arrives of the current request from now on."""


class Trace(Protocol):
    """What a request is traced by."""

    trace_id: str
    """32 hexadecimal digits."""
    header: tuple[bytes, bytes]
    """For the response: which trace it was, and which span of it."""

    def end(self, exchange: "Exchange", route: str, seconds: float) -> None:
        """The request has ended, so many seconds after it began; ``route`` is a template."""


StartTrace = Callable[[Scope, "Exchange"], Trace]
"""Begins to trace a request, whose head has arrived."""


class Exchange:
    """Bounds the request, adds the common headers to the response, and records data for the log and the metrics.

    A response that is sent before the body was read still reaches the client: closing a connection on which unread
    bytes arrive resets it, and a reset discards the response. So ``lingering_close`` holds its end back and reads on.
    """

    __slots__ = (
        "_content_length",
        "_drain",
        "_is_read",
        "_max_bytes",
        "_receive",
        "_received",
        "_send",
        "began",
        "connection",
        "headers",
        "is_held",
        "manifest",
        "request_id",
        "stages",
        "status",
        "timings",
        "trace",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, max_bytes: int, drain: asyncio.Event) -> None:
        """A body of more than ``max_bytes`` is refused; once ``drain`` is set, responses close their connection."""
        self.began = time.perf_counter()
        self.connection: Connection | None = scope.get("extensions", {}).get(CONNECTION)
        self.headers: dict[bytes, bytes] = dict(reversed(scope["headers"]))
        """By name in lower case; the first of several with the same name."""
        given = self.headers.get(b"x-request-id", b"")
        # An id is no secret, and uuid4 reads the system's random source, which takes 80 microseconds.
        self.request_id = given.decode() if _SANE_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
        self.trace: Trace | None = None
        self.manifest: Manifest | None = None
        """Of the model that was asked, once it is known."""
        self.timings: list[Timings] = []
        """Stage times of each answered image, added by the route."""
        self.stages: Mapping[str, float] = {}
        """Stage -> seconds, summed over the images, once the head of the response is sent."""
        self.status: int | None = None
        """None until the head of the response is sent."""
        self._receive = receive
        self._send = send
        self._max_bytes = max_bytes
        self._drain = drain
        self._content_length = _content_length(self.headers)
        self._received = 0
        self._is_read = not self._content_length and b"transfer-encoding" not in self.headers
        self.is_held = False
        """The end of the response waits for ``lingering_close``, as part of the body has not arrived."""

    def check(self) -> None:
        """Raise the error that the server found in the request, or HTTPException 413 if it is too large by its head."""
        self._check_fault()
        self._check_size(self._content_length)

    async def read_body(self, reservation: Reservation, deadlines: Deadlines, timeout_seconds: float) -> list[bytes]:
        """The body in pieces, reserved before it is read as far as Content-Length states its size, else as it grows.

        Raises HTTPException 408 if it does not arrive within ``timeout_seconds``, ClientDisconnect, and whatever
        ``receive`` and ``Reservation.hold`` raise.
        """
        reservation.hold(self._content_length)
        chunks: list[bytes] = []
        too_slow = partial(_too_slow, timeout_seconds)
        with nullcontext() if self.has_arrived else deadlines.within(timeout_seconds, too_slow):
            while True:
                message = await self.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                reservation.hold(self._received)
                chunks.append(message.get("body", b""))
                if not message.get("more_body", False):
                    return chunks

    async def receive(self) -> Message:
        """The next piece of the body; raises HTTPException 413 once it is too large, or the error the server found."""
        message = await self._receive()
        self._check_fault()
        if not message.get("more_body", False):
            self._is_read = True
        self._received += len(message.get("body", b""))
        self._check_size(self._received)
        return message

    async def send(self, message: Message) -> None:
        """Send a piece of the response, its head with the common headers."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = self._with_common_headers(message.get("headers", ()))
        elif not message.get("more_body", False) and not self.has_arrived:
            self.is_held = True
            message = {**message, "more_body": True}
        await self._send(message)

    async def lingering_close(self) -> None:
        """Read and discard the body for up to 5 seconds, then send the end of the response, which was held back."""
        if self.connection is not None:
            self.connection.discard_body()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while (await self._receive()).get("more_body", False):  # until the body or the connection ends
                    pass
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    @property
    def has_arrived(self) -> bool:
        """True if nothing more of the body can arrive."""
        return self._is_read or (self.connection is not None and self.connection.has_all)

    def _with_common_headers(self, headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        self.stages = stage_seconds(self.timings)
        scales = sorted({timings.scale for timings in self.timings} - {1})
        timing = server_timing(self.stages, time.perf_counter() - self.began, scales)
        common = [
            *headers,
            (b"x-request-id", self.request_id.encode()),
            (b"server-timing", timing.encode()),
        ]
        given = dict(headers)
        common += [header for header in _PROTECTION if header[0] not in given] if _POLICY in given else _PROTECTION
        if self.trace is not None:
            common.append(self.trace.header)
        if self._drain.is_set() or (self.connection is not None and self.connection.is_ending):
            common.append((b"connection", b"close"))  # the next request opens another connection
        return common

    def _check_fault(self) -> None:
        if self.connection is not None and self.connection.fault is not None:
            raise self.connection.fault

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            detail = f"The request body is larger than the {self._max_bytes} bytes that are allowed."
            raise HTTPException(413, detail)


def _too_slow(seconds: float) -> HTTPException:
    return HTTPException(408, f"The body did not arrive within {seconds:g} seconds.")


def _content_length(headers: Mapping[bytes, bytes]) -> int:
    """0 if it is missing or invalid."""
    length = headers.get(b"content-length", b"").strip(b" \t")
    return int(length.lstrip(b"0")[:20] or b"0") if length.isdigit() else 0


def stage_seconds(timings: Sequence[Timings]) -> dict[str, float]:
    """Stage -> seconds, summed over the images; without ``total``, which is measured for the whole request."""
    sums: dict[str, float] = {}
    for image in timings:
        sums = {stage: sums.get(stage, 0.0) + seconds for stage, seconds in image.stages.items()}
    sums.pop("total", None)
    return sums


def server_timing(stages: Mapping[str, float], total: float, scales: Sequence[int] = ()) -> str:
    """The Server-Timing header: each stage and the total in milliseconds; ``decode`` also lists the scales 1 / n."""
    fractions = f';desc="{" ".join(f"1/{scale}" for scale in scales)}"' if scales else ""
    entries = [
        f"{stage};dur={seconds * 1000:.3f}{fractions if stage == 'decode' else ''}" for stage, seconds in stages.items()
    ]
    return ", ".join([*entries, f"total;dur={total * 1000:.3f}"])
