"""Bodies within bounds: httpx bounds each read alone, so a server that sends a byte now and then would never end."""

import time

import httpx

MOST_BYTES = 256 * 1024 * 1024
"""Of a picture or an answer."""


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
