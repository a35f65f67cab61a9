"""Messages between the supervisor and a worker: JSON with a length prefix, over a pair of sockets."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

_LENGTH_BYTES = 4

REQUESTS = b"\0"
ADMINISTRATION = b"\1"
"""Purpose of a connection, sent as the byte that accompanies its file descriptor."""

Message = tuple[str, Any]
"""The kind of the message, and its content.

From the supervisor: ``settings`` (all of them), ``collect`` (asks for the worker's metrics), ``gathered`` (those of all
workers), ``leave`` (report that the server stops, and serve on), ``state`` (asks for its state, optionally after a
rescan), ``states`` (those of all workers), ``reservations`` (another worker's message of this kind), ``shed`` (keep at
most so many connections). From a worker: ``alive`` (heartbeat of its event loop, every second), ``failed`` (the reason
why it cannot serve), ``ready`` (its models, and why it is not ready, as texts), ``draining``, ``connections`` (numbers
of connections taken over and ended since its start), ``collected`` (its metrics), ``gather`` (asks for those of all),
``state`` (its state), ``ask`` (asks for those of all), ``reservations`` (what happened in its retry schedules, for all
others).
"""


class Channel:
    """One end, used on one event loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> "Channel":
        """The channel over one socket of a pair, which it closes at the end."""
        return cls(*await asyncio.open_unix_connection(sock=end))

    def send(self, word: str, content: object = None) -> None:
        """Send without waiting; lost if the other side has ended."""
        if not self._writer.is_closing():
            text = json.dumps([word, content]).encode()
            self._writer.write(len(text).to_bytes(_LENGTH_BYTES) + text)

    async def messages(self) -> AsyncIterator[Message]:
        """Every message that arrives, until the other side ends."""
        while True:
            try:
                length = int.from_bytes(await self._reader.readexactly(_LENGTH_BYTES))
                word, content = json.loads(await self._reader.readexactly(length))
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            yield word, content

    async def close(self) -> None:
        """Send buffered messages, then close."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
