"""How many bytes of request bodies are held, of all requests together; of one request its ``Exchange`` takes care."""

from typing import Self

from starlette.requests import ClientDisconnect

from emo_serve.api.http.exchange import Exchange, announced_bytes
from emo_serve.errors import QueueFull

_RETRY_AFTER_SECONDS = 1.0


class BodyBudget:
    """Bounds the bytes of all bodies that are being read or answered; used from one event loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0

    @property
    def held(self) -> int:
        """Bytes that requests hold now."""
        return self._held

    def share(self) -> "Share":
        """What one request holds: nothing at first; however its block ends, all of it is given back."""
        return Share(self)

    def take(self, more: int) -> None:
        """Hold so many bytes more; raises QueueFull where they do not fit."""
        if self._held + more > self._limit:
            msg = (
                f"The bodies of the requests under way have {self._held} bytes, {self._limit} are allowed; "
                f"{more} more do not fit now."
            )
            raise QueueFull(msg, _RETRY_AFTER_SECONDS)
        self._held += more

    def give_back(self, size: int) -> None:
        """Hold so many bytes less."""
        self._held -= size


class Share:
    """One request's part of a budget, for the time of a block."""

    __slots__ = ("_budget", "_size")

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def hold(self, size: int) -> None:
        """Hold so many bytes in all, if that is more than before; raises QueueFull where they do not fit."""
        if size > self._size:
            self._budget.take(size - self._size)
            self._size = size

    def __exit__(self, *ended: object) -> None:
        self._budget.give_back(self._size)


async def read_body(exchange: Exchange, share: Share) -> list[bytes]:
    """The body in pieces, held before it is read as far as its Content-Length tells its size, else while it grows.

    Raises ClientDisconnect, and what ``Exchange.receive`` and ``Share.hold`` raise.
    """
    share.hold(announced_bytes(exchange.headers))
    received = 0
    chunks: list[bytes] = []
    while True:
        message = await exchange.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        received += len(chunk)
        share.hold(received)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks
