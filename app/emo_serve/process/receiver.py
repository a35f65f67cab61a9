"""How a worker takes over the connections that the supervisor has accepted."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Mapping

from emo_serve.process.http_protocol import HttpProtocol

_AT_A_TIME = 64
_UNREPORTED = 16  # connections that may have been taken over without a word; far below what is sent without one

logger = logging.getLogger(__name__)


class ReportingProtocol(HttpProtocol):
    """The same HTTP, which says when its connection has ended."""

    on_ended: Callable[[], None]

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on."""
        super().connection_lost(exc)
        self.on_ended()


class Intake:
    """Reads connections from a socket, one file descriptor a message, and counts them."""

    def __init__(
        self,
        source: socket.socket,
        protocols: Mapping[bytes, Callable[[], ReportingProtocol]],
        report: Callable[[int, int], None],
    ) -> None:
        """The byte that a connection comes with chooses its protocol.

        ``report`` is called with how many were taken over and how many of them have ended.

        That is after every end, and after some of the takings, because that many may be under way.
        """
        self._source = source
        self._protocols = protocols
        self._report = report
        self._received = 0
        self._closed = 0
        self._reported = 0  # of those received
        self._told = True
        self._ended = asyncio.Event()
        self._starting: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to read."""
        self._source.settimeout(0)
        asyncio.get_running_loop().add_reader(self._source, self._take)

    async def ended(self, seconds: float) -> None:
        """Return when the supervisor has sent its last connection, or so many seconds have gone by."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()

    def _take(self) -> None:
        for _ in range(_AT_A_TIME):
            try:
                message, descriptors, _, _ = socket.recv_fds(self._source, 1, 1, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            except OSError:
                message, descriptors = b"", []
            if not message:
                asyncio.get_running_loop().remove_reader(self._source)
                self._ended.set()
                return
            self._received += 1
            if not descriptors:  # the system gives no more descriptors to this process
                logger.error("a connection was lost: too many open files")
                self._lost()
            for descriptor in descriptors:
                task = asyncio.get_running_loop().create_task(self._serve(socket.socket(fileno=descriptor), message))
                self._starting.add(task)
                task.add_done_callback(self._starting.discard)
            if self._received - self._reported >= _UNREPORTED:
                self._changed()

    async def _serve(self, connection: socket.socket, kind: bytes) -> None:
        protocol = self._protocols[kind]()
        protocol.on_ended = self._lost
        connection.settimeout(0)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: protocol, connection)
        except OSError:  # it ended before it began
            connection.close()
            self._lost()

    def _lost(self) -> None:
        self._closed += 1
        self._changed()

    def _changed(self) -> None:
        """Report soon, once for all that happens in this turn of the event loop."""
        if self._told:
            self._told = False
            asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        self._told = True
        self._reported = self._received
        self._report(self._received, self._closed)
