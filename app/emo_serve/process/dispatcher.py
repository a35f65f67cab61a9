"""Accepts connections and gives each to the worker with the fewest."""

import asyncio
import logging
import socket
from collections.abc import Sequence

from emo_serve.process.ipc import REQUESTS
from emo_serve.process.listeners import listen
from emo_serve.process.worker_handle import PATIENCE_SECONDS, WorkerHandle

_AT_A_TIME = 64
_PAUSE_SECONDS = 1.0

logger = logging.getLogger(__name__)


class Dispatcher:
    """Gives each connection to the worker with the fewest; while none can take one, they wait in the backlog."""

    def __init__(self, listener: socket.socket, workers: Sequence[WorkerHandle], kind: bytes = REQUESTS) -> None:
        """``workers`` are the current workers; read for every connection, so the list may change."""
        self._listener = listener
        self._kind = kind
        self._workers = workers
        self._served = 0
        self.is_open = False
        self._accepting = False

    def open(self) -> None:
        """Begin to listen; raises OSError, which names the unavailable address."""
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
        """Accept again if possible; to be called when a worker may have become able to take connections."""
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
                asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self.update)  # unless a worker reports earlier
                return
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # out of file descriptors or memory: it would fail again at once
                logger.exception("connections cannot be accepted", exc_info=error)
                self._pause()
                asyncio.get_running_loop().call_later(_PAUSE_SECONDS, self.update)
                return
            with connection:
                self._dispatch(connection)

    def _dispatch(self, connection: socket.socket) -> None:
        while (worker := self._next()) is not None:
            if worker.hand_over(connection, self._kind):
                self._served += 1
                worker.last_served = self._served
                return

    def _next(self) -> WorkerHandle | None:
        """The worker with the fewest connections, of equals the least recently served; None if it cannot take one.

        A worker that is busy is waited for a moment; otherwise the others would get all of a burst.
        """
        worker = min(
            (worker for worker in self._workers if worker.takes_connections or worker.will_take_connections),
            key=lambda worker: (worker.open_connections, worker.last_served),
            default=None,
        )
        return worker if worker is not None and worker.takes_connections else None
