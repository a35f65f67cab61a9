"""Requests of both clients: paths, parameters and the types of the answers."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

_HOST = re.compile(r"[^\s%.]{1,63}(\.[^\s%.]{1,63})*\.?|[0-9a-f]*:[0-9a-f:.]*(%\S+)?", re.IGNORECASE)
"""Labels with dots between them, or an address of IPv6."""

KEY_VARIABLE = "EMO_CLIENT_API_KEY"
"""Environment variable with the API key, if none is given."""


def checked(url: str) -> str:
    """The address of a server; raises ValueError for what is none."""
    if fault := fault_of_address(url):
        msg = f"{url!r} is no address of a server, as http://localhost:8000 is: {fault}"
        raise ValueError(msg)
    if httpx.URL(url).query or httpx.URL(url).fragment:
        msg = f"{url!r} is no address of a server, as http://localhost:8000 is: it has a query or a fragment"
        raise ValueError(msg)
    return url


def fault_of_address(url: str) -> str | None:
    """What keeps a URL from being asked for, of which httpx finds some only on the way."""
    try:
        parsed = httpx.URL(url)
        is_host = parsed.host and _HOST.fullmatch(parsed.raw_host.decode())
    except (httpx.InvalidURL, ValueError) as error:  # ValueError: of what Unicode or IDNA do not allow
        return str(error)
    if parsed.scheme not in ("http", "https"):
        return "it does not begin with http:// or https://"
    if not is_host:
        return "it names no host that could be asked"
    if parsed.port is not None and not 0 < parsed.port < 1 << 16:
        return f"port {parsed.port} is not in 1 to 65535"
    return None


def headers_for(api_key: str | None) -> dict[str, str]:
    """Headers of every request; raises ValueError for a key that no header can hold."""
    key = (api_key or os.environ.get(KEY_VARIABLE, "")).strip()  # a file that it was read from ends with a line end
    if not (key.isascii() and key.isprintable()):
        msg = "the API key has letters that no HTTP header can hold; allowed are printable ASCII characters"
        raise ValueError(msg)
    return {"Authorization": f"Bearer {key}"} if key else {}


def parameters(**values: str | float | bool | Sequence[str] | None) -> Mapping[str, Any]:
    """Query parameters; those that are None are left to the server. Raises ValueError for an empty list."""
    for name, value in values.items():
        if isinstance(value, list | tuple) and not value:
            msg = f"{name} is empty; leave it out for all"
            raise ValueError(msg)
    return {name: _text(value) for name, value in values.items() if value is not None}


def _text(value: str | float | bool | Sequence[str]) -> Any:  # noqa: ANN401, FBT001  as httpx takes it
    if isinstance(value, bool):
        return "true" if value else "false"
    return list(value) if isinstance(value, list | tuple) else value
