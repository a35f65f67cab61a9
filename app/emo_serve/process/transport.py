"""The sending side of a connection: responses leave in one piece, and closing neither loses them nor takes for ever."""

import asyncio
import socket

from uvicorn.protocols.http.flow_control import FlowControl

_STATUS_LINE = b"HTTP/1.1 "
_INFORMATION = b"1"  # as in 100 Continue: not the response yet, nothing follows it
_LINGER_SECONDS = 5.0
_STALL_SECONDS = 30.0
_CHECK_SECONDS = 0.1
_CLOSE_WAIT = 8  # in Linux's tcp_states.h: the client has shut down its sending side only


class Flow(FlowControl):
    """uvicorn's flow control, which does not resume reading while too much data waits."""

    is_full = False

    def resume_reading(self) -> None:
        """Resume reading, unless ``is_full``."""
        if not self.is_full:
            super().resume_reading()


class CoalescingTransport(asyncio.Transport):
    """Transport that sends the head of a response together with the first part of the body.

    uvicorn writes them separately. A process that is killed in between would leave half a response, which a balancer
    cannot retry; and one write saves a system call.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        """Other attributes and methods are those of the wrapped ``transport``."""
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._head: bytes | bytearray | memoryview = b""
        self._has_begun = False
        self._is_ending = False
        self._timer: asyncio.TimerHandle | None = None
        self._unsent = 0
        self.lingers = False
        """True if the client may still be sending when the connection is closed."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send the data; a head waits for what follows."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.writelines((head, data))
        elif data[:9] == _STATUS_LINE and data[9:10] != _INFORMATION:
            self._head = data[len(_STATUS_LINE) :] if self._has_begun else data
            self._has_begun = False
        else:
            self._transport.write(data)

    def flush(self) -> None:
        """Send a head without a body."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """Send buffered data, then close the connection.

        If it ``lingers``, the sending side is closed first, and the other one when the client has noticed: closing a
        connection on which data arrives resets it, which discards the response.
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
        """Abort the connection if the client takes nothing of the buffered data for half a minute."""
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
        self.cancel_timer()
        self._timer = self._loop.call_later(seconds, act)  # type: ignore[arg-type]

    def cancel_timer(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def abort(self) -> None:
        """Close the connection at once, without sending buffered data."""
        self._transport.abort()

    def is_closing(self) -> bool:
        """True once ``close`` or ``abort`` was called."""
        return self._is_ending or self._transport.is_closing()

    def keep_open(self, *, has_begun: bool) -> None:
        """Stay open though the client sends no more, until the response is sent or the client turns out to have gone.

        That shows only when something is sent, so the start of the status line, which is always the same, is sent
        early.
        """
        if not has_begun and not self._has_begun:
            self._has_begun = True
            self._transport.write(_STATUS_LINE)
        self._check_client()

    def _check_client(self) -> None:
        if self.is_closing():
            return
        connection: socket.socket = self._transport.get_extra_info("socket")
        if connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _CLOSE_WAIT:
            self._loop.call_later(_CHECK_SECONDS, self._check_client)
        else:
            self.abort()
