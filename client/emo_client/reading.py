"""Answers within bounds: httpx bounds each read alone, so a server that sends a byte now and then would never end."""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx

MOST_BYTES = 256 * 1024 * 1024
"""Of a picture or an answer."""

_OPENED = frozenset({"connection.connect_tcp.complete", "connection.start_tls.complete"})
_PIECE = 65_536


class Deadline(threading.local):
    """When the present request of this thread ends, for all that is read and written on its connection."""

    def __init__(self) -> None:
        self.end = float("inf")
        """A moment of ``time.monotonic``."""

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Have a connection keep to it that is opened: httpx's extension ``trace``."""
        if event in _OPENED:
            stream = info["return_value"]
            stream.read, stream.write = partial(self._read, stream.read), partial(self._write, stream.write)

    def _read(self, read: Callable[..., bytes], max_bytes: int, timeout: float | None = None) -> bytes:
        return read(max_bytes, self._left(timeout))

    def _write(self, write: Callable[..., None], content: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(content), _PIECE):
            write(content[start : start + _PIECE], self._left(timeout))

    def _left(self, timeout: float | None) -> float:
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left if timeout is None else min(left, timeout)


class Body:
    """A body as it comes; ``add`` raises httpx.ReadTimeout after ``end`` and httpx.ReadError beyond MOST_BYTES."""

    def __init__(self, response: httpx.Response, end: float = float("inf")) -> None:
        """The body of a streamed response; ``end`` is a moment of ``time.monotonic``."""
        self._response = response
        self._end = end
        self._parts: list[bytes] = []
        self._bytes = 0

    def add(self, part: bytes) -> None:
        """Take the next part."""
        self._parts.append(part)
        self._bytes += len(part)
        if self._bytes > MOST_BYTES:
            msg = f"it sends more than {MOST_BYTES} bytes"
            raise httpx.ReadError(msg, request=self._response.request)
        if time.monotonic() > self._end:
            msg = "the answer did not end in time"
            raise httpx.ReadTimeout(msg, request=self._response.request)

    def whole(self) -> httpx.Response:
        """The response with its body, decoded."""
        response = self._response
        headers = [item for item in response.headers.multi_items() if item[0] not in _OF_THE_BODY]
        content = b"".join(self._parts)
        return httpx.Response(response.status_code, headers=headers, content=content, request=response.request)


_OF_THE_BODY = frozenset({"content-encoding", "content-length", "transfer-encoding"})
