"""Limits on open connections, in all and from one address."""

import socket
from collections import Counter
from collections.abc import Callable

from emo_serve.api.wire.paths import is_trusted
from emo_serve.errors import Unavailable
from emo_serve.process.open_files import free_files
from emo_serve.settings import Settings

_RETRY_AFTER_SECONDS = 1.0
_RESERVE = 64  # descriptors for other uses: models, files
_MAX_REJECTED = 128  # refused connections open at a time, if there are enough descriptors


class Connections:
    """Counts the open connections of a process, and refuses those over the limits; used from one event loop."""

    def __init__(
        self, max_connections: int, max_per_client: int, max_rejected: int, proxies: tuple[str, ...] = ()
    ) -> None:
        """``proxies``, as in ``is_trusted``, are exempt from the limit per address: they carry many clients."""
        self._max_connections = max_connections
        self._max_per_client = max_per_client
        self._max_rejected = max_rejected
        self._proxies = proxies
        self._count = 0
        self._by_client: Counter[str] = Counter()
        self._rejected: dict[Callable[[], None], None] = {}  # oldest first

    @classmethod
    def of(cls, settings: Settings) -> "Connections":
        """Limits from the settings and the system's limit on open files."""
        free = max(2, free_files() - _RESERVE)
        rejected = max(1, min(_MAX_REJECTED, free // 4))
        max_connections = min(settings.http.max_connections, free - rejected)
        unset = max_connections if settings.client_header else max(1, max_connections // 2)
        max_per_client = settings.http.max_connections_per_client or unset
        return cls(max_connections, max_per_client, rejected, settings.trusted_proxies or ())

    def enter(self, address: str) -> None:
        """Count a connection from the address; raises Unavailable, without counting it, if it exceeds a limit."""
        client = _client(address)
        if self._count >= self._max_connections:
            msg = f"The server has {self._count} open connections, as many as it takes."
            raise Unavailable(msg, _RETRY_AFTER_SECONDS)
        if self._by_client[client] >= self._max_per_client and not is_trusted(address, self._proxies):
            most = self._max_per_client
            msg = f"The server has {most} open connections from this address, as many as it takes of one."
            raise Unavailable(msg, _RETRY_AFTER_SECONDS)
        self._count += 1
        self._by_client[client] += 1

    def leave(self, address: str) -> None:
        """Stop counting a connection that has entered."""
        client = _client(address)
        self._count -= 1
        self._by_client[client] -= 1
        if not self._by_client[client]:
            del self._by_client[client]

    def add_rejected(self, end: Callable[[], None]) -> None:
        """Keep a refused connection open for its answer; calls the ``end`` of the oldest one if there are too many."""
        self._rejected[end] = None
        if len(self._rejected) > self._max_rejected:
            first = next(iter(self._rejected))
            del self._rejected[first]
            first()

    def discard_rejected(self, end: Callable[[], None]) -> None:
        """Forget a refused connection."""
        self._rejected.pop(end, None)


def _client(address: str) -> str:
    """The unit of the limit per address: an IPv4 address, or the /64 network of an IPv6 address."""
    if ":" not in address or "." in address:
        return address
    return socket.inet_pton(socket.AF_INET6, address.partition("%")[0])[:8].hex()
