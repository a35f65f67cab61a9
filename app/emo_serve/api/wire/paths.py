"""Request paths as the routes know them, without the prefix below which a proxy publishes the server."""

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
    """Removes the prefix below which the server is published, as set or as stated by a trusted proxy."""

    def __init__(self, prefix: str = "", proxies: Collection[str] = (), routes: Collection[str] = ()) -> None:
        """``proxies`` are addresses, networks or ``*``; ``routes`` the paths of the API description."""
        self._prefix = prefix
        self._proxies = tuple(proxies)
        self._beginnings = frozenset({"docs", "openapi.json", "playground", *(route.split("/")[1] for route in routes)})

    def resolve(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        """Set the path in ``scope`` to the route's own; ``prefix_of`` returns the prefix that clients see before it.

        A prefix that the proxy left in the path is removed, unless it could be the beginning of a route, and so are
        trailing slashes.
        """
        path = scope["path"]
        prefix = self._prefix
        if self._proxies and PREFIX_HEADER in headers and is_trusted(_address(scope), self._proxies):
            prefix = _forwarded_prefix(headers[PREFIX_HEADER]) or prefix
        if prefix:
            scope["state"]["prefix"] = prefix
            if f"{path}/".startswith(f"{prefix}/") and prefix.split("/")[1] not in self._beginnings:
                path = path[len(prefix) :] or "/"
        scope["path"] = (path.rstrip("/") or "/") if path[-1:] == "/" else path


def prefix_of(scope: Scope) -> str:
    """The prefix that clients see before the path: '', or a path that begins with '/' and does not end with one."""
    prefix = scope["state"].get("prefix", "")
    if not isinstance(prefix, str):
        raise TypeError(prefix)
    return prefix


def is_prefix(text: str) -> bool:
    """True if ``text`` is a valid prefix for the paths of the server."""
    return len(text) <= _LONGEST and _PREFIX.fullmatch(text) is not None


@lru_cache(maxsize=128)  # proxies repeat the same header
def _forwarded_prefix(value: bytes) -> str:
    """The prefix in a header, '' if it is invalid; the prefixes of several proxies are joined."""
    parts = value.decode("latin-1").split(",")
    prefix = "".join(part.strip().rstrip("/") for part in parts)
    return prefix if is_prefix(prefix) else ""


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""


@lru_cache(maxsize=1024)
def is_trusted(address: str, proxies: tuple[str, ...]) -> bool:
    """True if the address is among ``proxies``: addresses, networks or ``*``."""
    if ANY in proxies:
        return True
    try:
        found = ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return any((mapped or found) in ip_network(proxy) for proxy in proxies)
