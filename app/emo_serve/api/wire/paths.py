"""The path of a request as the routes know it, below whatever prefix a proxy publishes the server."""

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from ipaddress import ip_address, ip_network

from starlette.types import Scope

PREFIX_HEADER = b"x-forwarded-prefix"
ANY = "*"
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_LONGEST = 256


class Paths:
    """Below what prefix the server is published, by the setting or by what a trusted proxy says of a request."""

    def __init__(self, prefix: str = "", proxies: Collection[str] = (), routes: Collection[str] = ()) -> None:
        """``proxies`` are addresses, networks or ``*``; ``routes`` the paths that are described."""
        self._prefix = prefix
        self._proxies = tuple(proxies)
        self._beginnings = frozenset({"docs", "openapi.json", *(route.split("/")[1] for route in routes)})

    def settle(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        """Make the path in ``scope`` the route's own; ``prefix_of`` gives what stood before it for clients.

        A prefix that the proxy has left in the path is taken away, unless it could be the beginning of a route, and so
        are slashes at the end.
        """
        path = scope["path"]
        prefix = self._prefix
        if self._proxies and PREFIX_HEADER in headers and is_trusted(_address(scope), self._proxies):
            prefix = _told(headers[PREFIX_HEADER]) or prefix
        if prefix:
            scope["state"]["prefix"] = prefix
            if f"{path}/".startswith(f"{prefix}/") and prefix.split("/")[1] not in self._beginnings:
                path = path[len(prefix) :] or "/"
        scope["path"] = (path.rstrip("/") or "/") if path[-1:] == "/" else path


def prefix_of(scope: Scope) -> str:
    """What stands before the path for clients: '', or a path that begins with '/' and does not end so."""
    prefix = scope["state"].get("prefix", "")
    if not isinstance(prefix, str):
        raise TypeError(prefix)
    return prefix


def is_prefix(text: str) -> bool:
    """Whether ``text`` can stand before the paths of the server."""
    return len(text) <= _LONGEST and _PREFIX.fullmatch(text) is not None


@lru_cache(maxsize=128)  # proxies say the same again and again
def _told(value: bytes) -> str:
    """The prefix in a header, '' where it is none; what several proxies have taken away is joined."""
    parts = value.decode("latin-1").split(",")
    prefix = "".join(part.strip().rstrip("/") for part in parts)
    return prefix if is_prefix(prefix) else ""


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""


@lru_cache(maxsize=1024)
def is_trusted(address: str, proxies: tuple[str, ...]) -> bool:
    """Whether the address is among ``proxies``: addresses, networks or ``*``."""
    if ANY in proxies:
        return True
    try:
        found = ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return any((mapped or found) in ip_network(proxy) for proxy in proxies)
