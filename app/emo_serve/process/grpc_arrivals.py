"""Room for the messages of calls while they arrive, of which nobody can tell whether they have begun to."""

import asyncio
from typing import Any

_PATIENCE_SECONDS = 0.5  # for room, before a message that does not come loses it
_LEAST_SECONDS = 1.0  # that every message has to arrive


class Displaced(Exception):
    """A message did not arrive while others were waiting for room."""


class Arrivals:
    """Lets so many messages arrive at a time.

    Where another waits for room, the one that has been arriving the longest loses it: a stream may be silent for hours,
    and a call need never send its message.
    """

    def __init__(self, most: int) -> None:
        self._room = asyncio.Semaphore(most)
        self._arriving: dict[asyncio.Future[object], float] = {}  # since when, the longest first

    async def read(self, context: Any) -> bytes | None:  # noqa: ANN401  a grpc.aio.ServicerContext
        """The next message of a call, None if there is none; raises Displaced."""
        await self._take_room()
        arriving = asyncio.ensure_future(context.read())
        self._arriving[arriving] = asyncio.get_running_loop().time()
        try:
            message = await arriving
        except asyncio.CancelledError:
            if arriving in self._arriving:
                raise  # by whoever reads
            raise Displaced from None
        finally:
            self._arriving.pop(arriving, None)
            self._room.release()
        return message if isinstance(message, bytes) else None

    async def _take_room(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    await self._room.acquire()
            except TimeoutError:
                self._displace()
            else:
                return

    def _displace(self) -> None:
        longest = next(iter(self._arriving.items()), None)
        if longest is not None and asyncio.get_running_loop().time() - longest[1] >= _LEAST_SECONDS:
            del self._arriving[longest[0]]
            longest[0].cancel()
