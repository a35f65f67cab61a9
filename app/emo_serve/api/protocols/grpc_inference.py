"""The Open Inference Protocol, version 2, over gRPC, and gRPC's health checks.

A call is a request like every other: its path is the name of the method, its headers are the metadata and its body is
the message; ``emo_serve.process.grpc_server`` makes it of what comes on the wire. The code of an error is a header.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from fastapi import Request, Response
from google.protobuf.json_format import ParseDict
from starlette.exceptions import HTTPException
from starlette.routing import Route

from emo_serve.api.http.services import services_of
from emo_serve.api.protocols.adapter import Adapter
from emo_serve.api.protocols.grpc_messages import HEALTH, INFERENCE, Message, message_class, read_message, size_of
from emo_serve.api.protocols.grpc_tensors import read_request, response_bytes
from emo_serve.api.protocols.open_inference import (
    ADMINISTRATION_ONLY,
    model_config,
    model_metadata,
    repository_index,
    server_metadata,
)
from emo_serve.api.protocols.open_inference_infer import Outputs, answer_inference
from emo_serve.api.protocols.open_inference_statistics import statistics
from emo_serve.api.protocols.predicting import admitted, body_of, parsed
from emo_serve.api.routes import health
from emo_serve.api.wire.problems import Problem
from emo_serve.engine.registry.deployment import Deployment
from emo_serve.errors import ModelNotFound, Unavailable

STATUS_HEADER = "grpc-status"
"""The code of gRPC that an error has; the body of the response is its text."""
PUSHBACK_HEADER = "grpc-retry-pushback-ms"
"""When gRPC's clients may try again, in milliseconds."""
STREAM_PATH = "/inference.GRPCInferenceService/ModelStreamInfer"
"""The one method whose calls have several messages, each of which is a request."""

_SERVICE, _HEALTH_SERVICE = f"{INFERENCE}.GRPCInferenceService", f"{HEALTH}.Health"
_INVALID_ARGUMENT, _UNKNOWN = 3, 2
_CODES: Mapping[int, int] = {
    400: _INVALID_ARGUMENT,
    401: 16,  # UNAUTHENTICATED
    403: 7,  # PERMISSION_DENIED
    404: 5,  # NOT_FOUND
    408: 4,  # DEADLINE_EXCEEDED
    413: _INVALID_ARGUMENT,
    415: _INVALID_ARGUMENT,
    422: _INVALID_ARGUMENT,
    429: 8,  # RESOURCE_EXHAUSTED
    500: 13,  # INTERNAL
    503: 14,  # UNAVAILABLE
    504: 4,
}
"""HTTP's statuses of errors -> gRPC's codes."""


def _write_error(problem: Problem) -> Response:
    headers = {**problem.headers, STATUS_HEADER: str(_CODES.get(problem.status, _UNKNOWN))}
    if "retry_after_ms" in problem.extensions:
        headers[PUSHBACK_HEADER] = str(problem.extensions["retry_after_ms"])
    return Response((problem.detail or problem.title).encode(), problem.status, headers)


# ---- inference -----------------------------------------------------------------------------------------------------

_INFER = message_class("ModelInferRequest")
_STREAM_RESPONSE = message_class("ModelStreamInferResponse")


async def _infer(request: Request) -> Response:
    async with body_of(request) as body:
        size = size_of(body)
        message = await parsed(body, partial(read_message, _INFER), size)
        version = message.model_version
        with admitted(request, _deployment(request, message.model_name, version), version) as model_request:
            wanted = model_request.deployment.manifest.input
            most = model_request.services.settings.max_images_per_request
            asked = await parsed(body, lambda _: read_request(message, wanted, most), size)
            return await answer_inference(model_request, asked, _written)


def _written(head: Mapping[str, str], outputs: Outputs) -> Response:
    return Response(response_bytes(head, outputs))


async def _stream_infer(request: Request) -> Response:
    answer = _STREAM_RESPONSE()
    answer.infer_response.ParseFromString((await _infer(request)).body)
    return Response(answer.SerializeToString())


def stream_error(text: str) -> bytes:
    """What a stream answers to a request with an error."""
    content: bytes = _STREAM_RESPONSE(error_message=text).SerializeToString()
    return content


# ---- server, models, repository ------------------------------------------------------------------------------------


async def _live(request: Request, _message: Message) -> dict[str, Any]:
    return {"live": await _holds(health.livez(request))}


async def _ready(request: Request, _message: Message) -> dict[str, Any]:
    return {"ready": await _holds(health.readyz(request))}


async def _holds(probe: Awaitable[object]) -> bool:
    try:
        await probe
    except Unavailable:
        return False
    return True


async def _server(_request: Request, _message: Message) -> dict[str, Any]:
    return server_metadata()


async def _model_ready(request: Request, message: Message) -> dict[str, Any]:
    try:
        return {"ready": _deployment(request, message.name, message.version).ready}
    except ModelNotFound:
        return {"ready": False}


async def _model(request: Request, message: Message) -> dict[str, Any]:
    return model_metadata(services_of(request), _deployment(request, message.name, message.version))


async def _config(request: Request, message: Message) -> dict[str, Any]:
    return {"config": model_config(services_of(request), _deployment(request, message.name, message.version))}


async def _statistics(request: Request, message: Message) -> dict[str, Any]:
    services = services_of(request)
    found = [_deployment(request, message.name, message.version)] if message.name else services.catalog.all()
    return {"model_stats": await statistics(services, found)}


async def _index(request: Request, message: Message) -> dict[str, Any]:
    return {"models": repository_index(services_of(request), only_ready=message.ready)}


async def _elsewhere(_request: Request, _message: Message) -> dict[str, Any]:
    raise HTTPException(403, ADMINISTRATION_ONLY)


async def _check(request: Request, message: Message) -> dict[str, Any]:
    if message.service not in ("", _SERVICE, _HEALTH_SERVICE):
        msg = f"There is no service {message.service[:100]!r}; there are: {_SERVICE} and '', the server."
        raise HTTPException(404, msg)
    is_ready = await _holds(health.readyz(request))
    return {"status": "SERVING" if is_ready else "NOT_SERVING"}


def _deployment(request: Request, name: str, version: str) -> Deployment:
    return services_of(request).catalog.find(name, version or None)


# ---- methods -------------------------------------------------------------------------------------------------------


def _method(
    name: str,
    answer: Callable[[Request, Message], Awaitable[dict[str, Any]]],
    *,
    service: str = _SERVICE,
    messages: str | None = None,
) -> Route:
    """A method that answers a message ``…Request`` with what ``answer`` gives of a ``…Response``."""
    package = service.rpartition(".")[0]
    asked, answered = (message_class(f"{messages or name}{end}", package) for end in ("Request", "Response"))

    async def endpoint(request: Request) -> Response:
        async with body_of(request) as body:
            size_of(body)
            content = await answer(request, read_message(asked, body))
        return Response(ParseDict(content, answered(), ignore_unknown_fields=True).SerializeToString())

    return Route(f"/{service}/{name}", endpoint, methods=["POST"])


ADAPTER = Adapter(
    routes=(
        Route(f"/{_SERVICE}/ModelInfer", _infer, methods=["POST"]),
        Route(STREAM_PATH, _stream_infer, methods=["POST"]),
        _method("ServerLive", _live),
        _method("ServerReady", _ready),
        _method("ServerMetadata", _server),
        _method("ModelReady", _model_ready),
        _method("ModelMetadata", _model),
        _method("ModelConfig", _config),
        _method("ModelStatistics", _statistics),
        _method("RepositoryIndex", _index),
        _method("RepositoryModelLoad", _elsewhere),
        _method("RepositoryModelUnload", _elsewhere),
        _method("Check", _check, service=_HEALTH_SERVICE, messages="HealthCheck"),
    ),
    write_error=_write_error,
    prefixes=(f"/{_SERVICE}", f"/{_HEALTH_SERVICE}"),
    open_paths=frozenset({f"/{_SERVICE}/ServerLive", f"/{_SERVICE}/ServerReady", f"/{_HEALTH_SERVICE}/Check"}),
)
