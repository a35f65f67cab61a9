"""Accepts connections and gives each to the worker that has the fewest."""

import asyncio
import logging
import socket
from collections.abc import Sequence

from emo_serve.process.ipc import REQUESTS
from emo_serve.process.listeners import listen
from emo_serve.process.worker_handle import PATIENCE_SECONDS, Child

_AT_A_TIME = 64
_PAUSE_SECONDS = 1.0

logger = logging.getLogger(__name__)


class Dispatcher:
    """Even by construction: the kernel chooses no process. Where no worker can take one, connections wait there."""

    def __init__(self, listener: socket.socket, children: Sequence[Child], kind: bytes = REQUESTS) -> None:
        """``children`` is read whenever a connection comes; it may change meanwhile."""
        self._listener = listener
        self._kind = kind
        self._children = children
        self._served = 0
        self.is_open = False
        self._accepting = False

    def open(self) -> None:
        """Begin to listen; raises OSError, which says which address cannot be had."""
        self._listener.settimeout(0)
        listen(self._listener)
        self.is_open = True
        self.update()

    def close(self) -> None:
        """Stop listening; connections that were not accepted are refused."""
        self.is_open = False
        self._pause()
        self._listener.close()

    def update(self) -> None:
        """To be called when a worker may have become able to take connections."""
        if self.is_open and not self._accepting and self._next() is not None:
            asyncio.get_running_loop().add_reader(self._listener, self._accept)
            self._accepting = True

    def _pause(self) -> None:
        if self._accepting:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._accepting = False

    def _accept(self) -> None:
        for _ in range(_AT_A_TIME):
            if self._next() is None:
                self._pause()
                asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self.update)  # if nobody is heard before
                return
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # no more file descriptors or memory: it would fail again at once
                logger.exception("connections cannot be accepted", exc_info=error)
                self._pause()
                asyncio.get_running_loop().call_later(_PAUSE_SECONDS, self.update)
                return
            with connection:
                self._dispatch(connection)

    def _dispatch(self, connection: socket.socket) -> None:
        while (child := self._next()) is not None:
            if child.hand_over(connection, self._kind):
                self._served += 1
                child.last_served = self._served
                return

    def _next(self) -> Child | None:
        """The one with the fewest connections, of equals the one that has waited longest; None if it cannot take one.

        One that is busy is waited for a moment, or the others would have got all of a burst.
        """
        child = min(
            (child for child in self._children if child.takes_connections or child.will_take_connections),
            key=lambda child: (child.open_connections, child.last_served),
            default=None,
        )
        return child if child is not None and child.takes_connections else None
