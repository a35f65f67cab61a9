"""Requests of both clients: paths, parameters and the types of the answers."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

KEY_VARIABLE = "EMO_CLIENT_API_KEY"
"""Environment variable with the API key, if none is given."""


def checked(url: str) -> str:
    """The address of a server; raises ValueError for what is none."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        msg = f"{url!r} is no address: {error}"
        raise ValueError(msg) from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        msg = f"{url!r} is no address of a server, as http://localhost:8000 is"
        raise ValueError(msg)
    return url


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
