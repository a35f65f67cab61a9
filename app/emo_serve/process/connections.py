"""How many connections there may be at a time, in all and from one address."""

import socket
from collections import Counter
from collections.abc import Callable

from emo_serve.api.wire.paths import is_trusted
from emo_serve.errors import Unavailable
from emo_serve.process.open_files import free_files
from emo_serve.settings import Settings

_RETRY_AFTER_SECONDS = 1.0
_RESERVE = 64  # descriptors for what is no connection: models that are loaded, files that are read
_TURNED_AWAY = 128  # connections that are told so at a time, as long as there are so many descriptors


class Connections:
    """Counts the open connections of a process, and refuses those that are too many; used from one event loop."""

    def __init__(self, most: int, most_of_one: int, most_turned_away: int, proxies: tuple[str, ...] = ()) -> None:
        """``proxies``, as ``is_trusted`` takes them, may have any number: many clients come by them."""
        self._most = most
        self._most_of_one = most_of_one
        self._most_turned_away = most_turned_away
        self._proxies = proxies
        self._count = 0
        self._by_client: Counter[str] = Counter()
        self._turned_away: dict[Callable[[], None], None] = {}  # in their order

    @classmethod
    def of(cls, settings: Settings) -> "Connections":
        """As the settings say, and as the limit of open files allows."""
        free = max(2, free_files() - _RESERVE)
        turned_away = max(1, min(_TURNED_AWAY, free // 4))
        most = min(settings.http.max_connections, free - turned_away)
        unset = most if settings.client_header else max(1, most // 2)
        of_one = settings.http.max_connections_per_client or unset
        return cls(most, of_one, turned_away, settings.trusted_proxies or ())

    def enter(self, address: str) -> None:
        """Count a connection from the address; raises Unavailable where it is one too many, and is not counted."""
        client = _client(address)
        if self._count >= self._most:
            msg = f"The server has {self._count} open connections, as many as it takes."
            raise Unavailable(msg, _RETRY_AFTER_SECONDS)
        if self._by_client[client] >= self._most_of_one and not is_trusted(address, self._proxies):
            msg = f"The server has {self._most_of_one} open connections from this address, as many as it takes of one."
            raise Unavailable(msg, _RETRY_AFTER_SECONDS)
        self._count += 1
        self._by_client[client] += 1

    def leave(self, address: str) -> None:
        """Count a connection no more that has entered."""
        client = _client(address)
        self._count -= 1
        self._by_client[client] -= 1
        if not self._by_client[client]:
            del self._by_client[client]

    def turn_away(self, end: Callable[[], None]) -> None:
        """Remember one that was refused and is being told so; ``end`` the first of them where they are too many."""
        self._turned_away[end] = None
        if len(self._turned_away) > self._most_turned_away:
            first = next(iter(self._turned_away))
            del self._turned_away[first]
            first()

    def gone(self, end: Callable[[], None]) -> None:
        """Forget one that was refused."""
        self._turned_away.pop(end, None)


def _client(address: str) -> str:
    """What counts as one client: an address of IPv4, the first half of one of IPv6, which belongs to one network."""
    if ":" not in address or "." in address:
        return address
    return socket.inet_pton(socket.AF_INET6, address.partition("%")[0])[:8].hex()
