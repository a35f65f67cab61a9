"""uvicorn's HTTP, with answers that leave in one piece."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class OnePiece(asyncio.Transport):
    """Sends together what is written in one turn of the event loop.

    uvicorn writes an answer's head and then its body. A process that is killed in between would leave half an answer,
    which a balancer cannot ask for again. It is a call of the system less, too.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        """Write to the transport, to which all else is left that is not here."""
        super().__init__()
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._pieces: list[bytes | bytearray | memoryview] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send it at the end of this turn."""
        if not self._pieces:
            self._loop.call_soon(self.flush)
        self._pieces.append(data)

    def flush(self) -> None:
        """Send what was written now."""
        pieces, self._pieces = self._pieces, []
        if pieces and not self._transport.is_closing():
            self._transport.writelines(pieces)

    def close(self) -> None:
        """Send what was written, and end."""
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether it is."""
        return self._transport.is_closing()


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's own, on such a transport."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Write through it."""
        super().connection_made(transport)
        self.transport: OnePiece = OnePiece(transport)

    def eof_received(self) -> None:
        """The client sends no more: the event loop closes the connection next, but what was written still goes out."""
        self.transport.flush()
