"""Errors -> RFC 9457 problem documents; the one table of problem types and HTTP statuses.

Every error body of this server is made here, the framework's own 404, 405 and 422 included.
"""

import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Scope

from emo_serve.api.wire.paths import prefix_of
from emo_serve.errors import (
    Conflict,
    DeadlineExceeded,
    ImageTooLarge,
    ImageUndecodable,
    InferenceFailed,
    InvalidParameter,
    InvalidRequest,
    ModelNotFound,
    ModelNotReady,
    Overloaded,
    QueueFull,
    RateExceeded,
    ServiceError,
    ShuttingDown,
    Unavailable,
    UnsupportedMediaType,
)
from emo_serve.logs import request_id

MEDIA_TYPE = "application/problem+json"
_TYPE_PREFIX = "urn:emo-serve:problem:"
_SHOWN = 100  # characters of a client's value that an error repeats

ANSWERED = (ServiceError, HTTPException, RequestValidationError)
"""Exceptions that ``answer_error`` handles."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One kind of problem; ``name`` ends its type URI and is its heading in docs/problems.md."""

    status: int
    name: str
    title: str

    @property
    def uri(self) -> str:
        """The value of the document's ``type``."""
        return _TYPE_PREFIX + self.name


INTERNAL_ERROR = ProblemType(500, "internal-error", "Internal error")

SERVICE_PROBLEMS: Mapping[type[ServiceError], ProblemType] = MappingProxyType(
    {
        UnsupportedMediaType: ProblemType(415, "unsupported-media-type", "The body is no image of an allowed format"),
        ImageTooLarge: ProblemType(413, "image-too-large", "The image is too large"),
        ImageUndecodable: ProblemType(422, "image-undecodable", "The image cannot be decoded"),
        InvalidParameter: ProblemType(422, "invalid-parameter", "A parameter is not allowed"),
        InvalidRequest: ProblemType(422, "invalid-request", "The request is malformed"),
        ModelNotFound: ProblemType(404, "model-not-found", "No such model"),
        Conflict: ProblemType(409, "conflict", "It does not go with what is served or lies in the repository"),
        QueueFull: ProblemType(503, "queue-full", "The queue is full"),
        Overloaded: ProblemType(503, "overloaded", "The answer would come too late"),
        RateExceeded: ProblemType(429, "rate-exceeded", "This client makes too many requests"),
        ModelNotReady: ProblemType(503, "model-not-ready", "The model is not ready"),
        ShuttingDown: ProblemType(503, "shutting-down", "The server is shutting down"),
        Unavailable: ProblemType(503, "unavailable", "The server cannot take the request now"),
        DeadlineExceeded: ProblemType(504, "deadline-exceeded", "The answer would have come too late"),
        InferenceFailed: ProblemType(500, "inference-failed", "The model failed on this image"),
    }
)
"""By the most specific class of an error; any other exception is an internal error."""

HTTP_PROBLEMS: Mapping[int, ProblemType] = MappingProxyType(
    {
        400: ProblemType(400, "bad-request", "Bad request"),
        401: ProblemType(401, "unauthorized", "A valid API key is needed"),
        404: ProblemType(404, "not-found", "No such resource"),
        405: ProblemType(405, "method-not-allowed", "Method not allowed"),
        406: ProblemType(406, "not-acceptable", "None of the accepted media types can be produced"),
        408: ProblemType(408, "request-timeout", "The request came too slowly"),
        413: ProblemType(413, "request-too-large", "The request body is too large"),
        414: ProblemType(414, "target-too-long", "The request target is too long"),
        431: ProblemType(431, "head-too-large", "The head of the request is too large"),
        500: INTERNAL_ERROR,
        501: ProblemType(501, "not-implemented", "The server does not do that"),
        505: ProblemType(505, "http-version", "The server does not speak this version of HTTP"),
    }
)
"""Refusals by HTTP itself or the framework; any other status gets ``about:blank`` (RFC 9457)."""


def problem_types() -> tuple[ProblemType, ...]:
    """Every problem type that this server can answer with, each once, by name."""
    return tuple(sorted({*SERVICE_PROBLEMS.values(), *HTTP_PROBLEMS.values()}, key=lambda problem: problem.name))


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem document before serialization."""

    status: int
    uri: str
    title: str
    detail: str
    extensions: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The members of the document, including the id of the current request."""
        return {
            "type": self.uri,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "request_id": request_id.get() or "",
            **self.extensions,
        }

    def response(self) -> Response:
        """The document as an HTTP response."""
        return Response(json.dumps(self.document()), self.status, dict(self.headers), MEDIA_TYPE)


def problem_for(error: Exception) -> Problem:
    """The problem for ``error``; details that a client must not see (the cause of a 500) are only logged."""
    if isinstance(error, HTTPException):
        return _http_problem(error)
    kind = next((SERVICE_PROBLEMS[base] for base in type(error).__mro__ if base in SERVICE_PROBLEMS), INTERNAL_ERROR)
    if kind.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        if not isinstance(error, InferenceFailed):  # already logged by the engine
            logger.error("a request failed because of a defect", exc_info=error)
        return Problem(kind.status, kind.uri, kind.title, "The cause is in the server's log under this request id.")
    headers, extensions = {}, {}
    if isinstance(error, Unavailable) and error.retry_after_seconds is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_seconds)))
        extensions["retry_after_ms"] = max(1, math.ceil(error.retry_after_seconds * 1000))
    return Problem(kind.status, kind.uri, kind.title, str(error), extensions, headers)


ErrorResponse = Callable[[Scope, Exception], Response]
"""The answer to a request that an error has ended, in the words of its protocol."""


def problem_response(_scope: Scope, error: Exception) -> Response:
    """A problem document, as this server's own protocol has it."""
    return problem_for(error).response()


def _http_problem(error: HTTPException) -> Problem:
    headers = dict(error.headers or {})
    kind = HTTP_PROBLEMS.get(error.status_code)
    if kind is None:
        phrase = HTTPStatus(error.status_code).phrase
        return Problem(error.status_code, "about:blank", phrase, error.detail, headers=headers)
    detail, extensions = error.detail, {}
    if "Allow" in headers:
        extensions["allowed"] = [method.strip() for method in headers["Allow"].split(",")]
        detail = f"Allowed here: {headers['Allow']}."
    elif detail == HTTPStatus(error.status_code).phrase:
        detail = kind.title + "."
    return Problem(kind.status, kind.uri, kind.title, detail, extensions, headers)


def parameter_problem(request: Request, error: RequestValidationError) -> Problem:
    """The problem for invalid query parameters: for each of them the fault and the allowed values."""
    declared = _declared_parameters(request)
    errors: list[dict[str, Any]] = []
    for entry in error.errors():
        name = str(entry["loc"][1]) if len(entry["loc"]) > 1 else str(entry["loc"][0])
        if entry["type"] == "extra_forbidden" or name not in declared:
            errors.append({"parameter": name, "allowed": sorted(declared)})
            continue
        value = None if entry["type"] == "missing" else str(entry["input"])[:_SHOWN]
        errors.append({"parameter": name, "value": value, "allowed": allowed_values(declared[name])})
    kind = SERVICE_PROBLEMS[InvalidParameter]
    return Problem(kind.status, kind.uri, kind.title, " ".join(map(_sentence, errors)), {"errors": errors})


def _sentence(error: Mapping[str, Any]) -> str:
    if "value" not in error:
        allowed = f"allowed are {', '.join(error['allowed'])}" if error["allowed"] else "there are none"
        return f"Unknown parameter {error['parameter'][:_SHOWN]!r}: {allowed}."
    fault = "is missing" if error["value"] is None else f"= {error['value']!r}"
    return f"{error['parameter']} {fault}: allowed is {error['allowed']}."


def _declared_parameters(request: Request) -> dict[str, dict[str, Any]]:
    """Name -> JSON schema of the query parameters of the route, from the OpenAPI document."""
    paths = request.app.openapi()["paths"]
    operation = paths.get(request.scope["route"].path, {}).get(request.method.lower(), {})
    return {entry["name"]: entry["schema"] for entry in operation.get("parameters", []) if entry["in"] == "query"}


def allowed_values(schema: Mapping[str, Any]) -> str:
    """A textual description of the values that the JSON schema of a parameter allows."""
    for choice in schema.get("anyOf", []):
        if choice.get("type") != "null":
            return allowed_values(choice)
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    kind = {"integer": "an integer", "number": "a number", "boolean": "true or false"}.get(
        schema.get("type", ""), "text"
    )
    if "minimum" in schema and "maximum" in schema:
        return f"{kind} from {schema['minimum']:g} to {schema['maximum']:g}"
    if "maxLength" in schema:
        return f"{kind} of {schema.get('minLength', 0)} to {schema['maxLength']} characters"
    return kind


def _no_such_path(request: Request) -> str:
    prefix, path = prefix_of(request.scope), request.scope["path"][:_SHOWN]
    there_are = ", ".join(
        f"{method.upper()} {prefix}{route}"
        for route, operations in request.app.openapi()["paths"].items()
        for method in operations
    )
    return f"There is nothing at {prefix + path!r}; there are: {there_are}."


async def answer_error(request: Request, error: Exception) -> Response:
    """Exception handler for all errors that are raised while a request is processed."""
    if isinstance(error, RequestValidationError):
        return parameter_problem(request, error).response()
    if isinstance(error, HTTPException) and error.status_code == HTTPStatus.NOT_FOUND:  # only the framework raises it
        return problem_for(HTTPException(404, _no_such_path(request))).response()
    return problem_for(error).response()
