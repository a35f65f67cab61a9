"""Requests of both clients: paths, parameters and the types of the answers."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

KEY_VARIABLE = "EMO_CLIENT_API_KEY"
"""Environment variable with the API key, if none is given."""


def headers_for(api_key: str | None) -> dict[str, str]:
    """Headers of every request."""
    key = api_key or os.environ.get(KEY_VARIABLE)
    return {"Authorization": f"Bearer {key}"} if key else {}


def parameters(**values: str | float | bool | Sequence[str] | None) -> Mapping[str, Any]:
    """Query parameters; those that are None are left to the server."""
    return {name: _text(value) for name, value in values.items() if value is not None}


def _text(value: str | float | bool | Sequence[str]) -> Any:  # noqa: ANN401, FBT001  as httpx takes it
    if isinstance(value, bool):
        return "true" if value else "false"
    return list(value) if isinstance(value, list | tuple) else value
