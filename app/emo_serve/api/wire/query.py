"""The query of a request, checked by a pydantic model; FastAPI's way to the same end takes several times as long."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import urlencode

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import QueryParams

from emo_serve.errors import InvalidParameter

Q = TypeVar("Q", bound=BaseModel)


@lru_cache(maxsize=128)  # clients ask for the same again and again
def read_query(query: bytes, model: type[Q], *lists: str) -> Q:
    """The query of an ASGI scope as ``model``, which is frozen; only the parameters ``lists`` may be repeated.

    Raises InvalidParameter for others that are, and RequestValidationError for what the model does not allow.
    """
    values: dict[str, Any] = {}
    for name, value in QueryParams(query).multi_items():
        if name in lists:
            values.setdefault(name, []).append(value)
        elif name in values:
            msg = f"{name} is given more than once; allowed is once."
            raise InvalidParameter(msg)
        else:
            values[name] = value
    try:
        return model.model_validate(values)
    except ValidationError as error:
        complaints = [{**entry, "loc": ("query", *entry["loc"])} for entry in error.errors()]
        raise RequestValidationError(complaints) from error


def with_fields(query: bytes, fields: Sequence[tuple[str, str]], model: type[BaseModel]) -> bytes:
    """The query with those fields of a form that are parameters, too; others and empty ones are nothing to us."""
    taken = urlencode([(name, value) for name, value in fields if value and name in model.model_fields]).encode()
    return b"&".join(part for part in (query, taken) if part)


def query_parameters(model: type[BaseModel]) -> list[dict[str, Any]]:
    """The ``parameters`` of an OpenAPI operation whose query is ``model``."""
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "schema": schema,
            "description": schema["description"],
        }
        for name, schema in model.model_json_schema()["properties"].items()
    ]
