"""A connection's sending side: answers leave in one piece, its end keeps none from its client and comes in time."""

import asyncio
import socket

from uvicorn.protocols.http.flow_control import FlowControl

_STATUS_LINE = b"HTTP/1.1 "
_INFORMATION = b"1"  # as in 100 Continue: no answer yet, nothing comes after it
_LINGER_SECONDS = 5.0
_STALL_SECONDS = 30.0
_LOOK_SECONDS = 0.1
_CLOSE_WAIT = 8  # in Linux's tcp_states.h: the other side has ended, and takes what is sent


class Flow(FlowControl):
    """uvicorn's own, which does not resume while more waits than may."""

    is_full = False

    def resume_reading(self) -> None:
        """Resume, unless it is full."""
        if not self.is_full:
            super().resume_reading()


class OnePiece(asyncio.Transport):
    """Sends an answer's head together with what comes after it.

    uvicorn writes the head and then the body. A process that is killed in between would leave half an answer, which a
    balancer cannot ask for again. It is a call of the system less, too.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        """Write to the transport, to which all else is left that is not here."""
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._head: bytes | bytearray | memoryview = b""
        self._has_begun = False
        self._is_ending = False
        self._timer: asyncio.TimerHandle | None = None
        self._unsent = 0
        self.lingers = False
        """Whether its client may still be sending when it is closed."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send it, unless it is a head."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.writelines((head, data))
        elif data[:9] == _STATUS_LINE and data[9:10] != _INFORMATION:
            self._head = data[len(_STATUS_LINE) :] if self._has_begun else data
            self._has_begun = False
        else:
            self._transport.write(data)

    def flush(self) -> None:
        """Send a head after which nothing comes."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """Send what was written, and end.

        Where it lingers, only the sending side ends at first, and the other one when the client has seen that: to close
        a connection on which something arrives resets it, which takes the answer with it.
        """
        if self.is_closing():
            return
        self.flush()
        if self.lingers:
            self._is_ending = True
            self._transport.write_eof()
            self._later(_LINGER_SECONDS, self._transport.abort)
            return
        self._transport.close()
        self.watch()

    def watch(self) -> None:
        """End the connection if none of what waits to be sent is taken for half a minute."""
        self._unsent = self._transport.get_write_buffer_size()
        if self._unsent and self._timer is None:
            self._later(_STALL_SECONDS, self._check)

    def _check(self) -> None:
        self._timer = None
        if self._transport.get_write_buffer_size() >= self._unsent:
            self._transport.abort()
        else:
            self.watch()

    def _later(self, seconds: float, act: object) -> None:
        self.forget()
        self._timer = self._loop.call_later(seconds, act)  # type: ignore[arg-type]

    def forget(self) -> None:
        """Expect nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def abort(self) -> None:
        """End at once."""
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether it is."""
        return self._is_ending or self._transport.is_closing()

    def stay(self, *, has_begun: bool) -> None:
        """Stay open though the client sends no more, until the answer is out or it turns out that the client has left.

        That shows only when something is sent to it, and every answer begins in the same way.
        """
        if not has_begun and not self._has_begun:
            self._has_begun = True
            self._transport.write(_STATUS_LINE)
        self._look()

    def _look(self) -> None:
        if self.is_closing():
            return
        connection: socket.socket = self._transport.get_extra_info("socket")
        if connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _CLOSE_WAIT:
            self._loop.call_later(_LOOK_SECONDS, self._look)
        else:
            self.abort()
