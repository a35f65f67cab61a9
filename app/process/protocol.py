"""uvicorn's HTTP, with bodies that come and answers that leave in one piece."""

import asyncio
from collections.abc import Callable

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.api.exchange import CONNECTION

_STATUS_LINE = b"HTTP/1.1 "
_INFORMATION = b"1"  # as in 100 Continue: no answer yet, nothing comes after it
_MUCH = 512 * 1024  # bytes; most photos have less


class OnePiece(asyncio.Transport):
    """Sends an answer's head together with what comes after it.

    uvicorn writes the head and then the body. A process that is killed in between would leave half an answer, which a
    balancer cannot ask for again. It is a call of the system less, too.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        """Write to the transport, to which all else is left that is not here."""
        super().__init__()
        self._transport = transport
        self._head: bytes | bytearray | memoryview = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send it, unless it is a head."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.writelines((head, data))
        elif data[:9] == _STATUS_LINE and data[9:10] != _INFORMATION:
            self._head = data
        else:
            self._transport.write(data)

    def flush(self) -> None:
        """Send a head after which nothing comes."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """Send what was written, and end."""
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether it is."""
        return self._transport.is_closing()


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's own, on such a transport.

    The application gets a usual body whole, instead of being woken for each piece, and gets to know at once when the
    connection has ended.
    """

    is_lost = False
    has_all = False
    is_shed = False
    """Whether it is to end as soon as that costs nothing."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Write through it."""
        super().connection_made(transport)
        self.transport: OnePiece = OnePiece(transport)
        self.on_lost: Callable[[], None] | None = None
        self._extensions = {CONNECTION: self}
        self._pieces: list[bytes] = []
        self._size = 0
        self._discards = False

    @property
    def is_ending(self) -> bool:
        """Whether the answer to the running request is the last: no other request has come behind it."""
        return self.is_shed and not self.pipeline

    def on_message_begin(self) -> None:
        """Let the application have the connection."""
        super().on_message_begin()
        self.has_all = self._discards = False
        self.scope["extensions"] = self._extensions  # type: ignore[typeddict-item]  # others are plain values

    def discard_body(self) -> None:
        """Throw away what has come of the body, and what will come."""
        self._discards = True
        self._pieces.clear()
        self._size = 0

    def on_body(self, body: bytes) -> None:
        """Keep it until it is all there, or much; one of unknown length is checked as it grows."""
        if self._discards:
            return
        if not self._pieces and b"content-length" not in dict(self.headers):
            super().on_body(body)
            return
        if self.cycle.response_complete:
            return
        self._pieces.append(body)
        self._size += len(body)
        if self._size > _MUCH:
            self.flow.pause_reading()
            self._pass_on()
            self.cycle.message_event.set()

    def on_message_complete(self) -> None:
        """Let the application have the rest."""
        self.has_all = True
        self._pass_on()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Send an answer that has no body too."""
        self.transport.flush()
        super().on_response_complete()

    def _pass_on(self) -> None:
        if self._pieces:
            # uvicorn only copies and replaces what is there, which is free where it is bytes.
            self.cycle.body = b"".join((self.cycle.body, *self._pieces))  # type: ignore[assignment]
            self._pieces.clear()
            self._size = 0

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on."""
        super().connection_lost(exc)
        self.is_lost = True
        if self.on_lost is not None:
            self.on_lost()
