"""What the supervisor and a worker say to each other: JSON, each message behind its length, over a pair of sockets."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

_LENGTH_BYTES = 4

REQUESTS = b"\0"
ADMINISTRATION = b"\1"
"""What a connection is for that is handed over; the byte that its file descriptor comes with."""

Message = tuple[str, Any]
"""A word that says what it is, and its content.

From the supervisor: ``settings`` (all of them), ``collect`` (a question for the worker's metrics), ``gathered`` (those
of all workers), ``leave`` (say that the server stops, and serve on), ``state`` (a question for what it serves, perhaps
after a rescan), ``states`` (that of all workers), ``news`` (what another worker said under this word), ``shed`` (let no
more than so many connections stay). From a worker: ``alive`` (its event loop runs, every second), ``failed`` (why it
cannot serve), ``ready`` (its models), ``draining``, ``connections`` (how many it has taken over and
how many of them have ended, since its start), ``collected`` (its metrics), ``gather`` (a question for those of all),
``state`` (what it serves), ``ask`` (a question for that of all), ``news`` (of booked moments, for all others).
"""


class Channel:
    """One end, used on one event loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> "Channel":
        """The channel over one socket of a pair, which it closes in the end."""
        return cls(*await asyncio.open_unix_connection(sock=end))

    def send(self, word: str, content: object = None) -> None:
        """Send without waiting; lost where the other side has ended."""
        if not self._writer.is_closing():
            text = json.dumps([word, content]).encode()
            self._writer.write(len(text).to_bytes(_LENGTH_BYTES) + text)

    async def messages(self) -> AsyncIterator[Message]:
        """Every message that comes, until the other side ends."""
        while True:
            try:
                length = int.from_bytes(await self._reader.readexactly(_LENGTH_BYTES))
                word, content = json.loads(await self._reader.readexactly(length))
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            yield word, content

    async def close(self) -> None:
        """Send what is left, then end."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
