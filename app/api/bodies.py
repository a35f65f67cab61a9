"""How many bytes of request bodies are taken in: of one request, and of all requests together."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fastapi import Request
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import problem_for
from app.errors import QueueFull

_RETRY_AFTER_SECONDS = 1.0

Hold = Callable[[int], None]
"""Lets a request hold so many bytes in all; raises QueueFull where they do not fit."""


class BodyLimit:
    """Refuses a body of more than ``max_bytes`` with 413: by its Content-Length, else as soon as it has grown too far.

    It lies inside the exception handlers, so that what it raises from ``receive`` becomes a problem document.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  ASGI's own signature
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if announced_bytes(Headers(scope=scope)) > self._max_bytes:
            await problem_for(self._too_large()).response()(scope, receive, send)
            return
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > self._max_bytes:
                    raise self._too_large()
            return message

        await self._app(scope, receive_counted, send)

    def _too_large(self) -> HTTPException:
        return HTTPException(413, f"The request body is larger than the {self._max_bytes} bytes that are allowed.")


class BodyBudget:
    """Bounds the bytes of all bodies that are being read or answered; used from one event loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0

    @property
    def held(self) -> int:
        """Bytes that requests hold now."""
        return self._held

    @contextmanager
    def share(self) -> Iterator[Hold]:
        """What one request holds: nothing at first; however the block ends, all of it is given back."""
        share = 0

        def hold(size: int) -> None:
            nonlocal share
            more = max(0, size - share)
            if self._held + more > self._limit:
                msg = (
                    f"The bodies of the requests under way have {self._held} bytes, {self._limit} are allowed; "
                    f"{more} more do not fit now."
                )
                raise QueueFull(msg, _RETRY_AFTER_SECONDS)
            share += more
            self._held += more

        try:
            yield hold
        finally:
            self._held -= share


async def read_body(request: Request, hold: Hold) -> list[bytes]:
    """The body in pieces, held before it is read as far as its Content-Length tells its size, else while it grows."""
    hold(announced_bytes(request.headers))
    received = 0
    chunks = []
    async for chunk in request.stream():
        received += len(chunk)
        hold(received)
        chunks.append(chunk)
    return chunks


def announced_bytes(headers: Headers) -> int:
    """The Content-Length; 0 where there is none."""
    length = headers.get("content-length", "")
    return int(length[:20]) if length.isdecimal() else 0
