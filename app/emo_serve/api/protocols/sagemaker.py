"""SageMaker's interface of a container: ``/invocations`` is the own route of a model, ``/ping`` its readiness.

SageMaker passes on no query, only a few headers: one of them stands in for it.
"""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from fastapi import Request, Response
from starlette.datastructures import QueryParams
from starlette.routing import Route

from emo_serve.api.http.admission import ModelRequest
from emo_serve.api.http.services import services_of
from emo_serve.api.protocols.adapter import Adapter
from emo_serve.api.protocols.predicting import admitted, default_deployment
from emo_serve.api.routes import health, predict, segment
from emo_serve.api.wire.problems import ANSWERED, Problem, answer_error
from emo_serve.errors import InvalidParameter
from emo_serve.manifest import Task

_MODEL = "X-Amzn-SageMaker-Target-Model"
_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
_OWN: Mapping[Task, tuple[str, Callable[[ModelRequest], Awaitable[Response]]]] = MappingProxyType(
    {
        "classify": ("/classify", predict.classify),
        "detect": ("/detect", predict.detect),
        "segment": ("/segment", segment.segment),
    }
)


def _write_error(problem: Problem) -> Response:
    return problem.response()  # the protocol has no shape of its own: whoever asks gets the answer as it is


async def _ping(request: Request) -> Response:
    await health.readyz(request)
    return Response()


async def _invocations(request: Request) -> Response:
    """The answer of the own route to the same body, with the attributes as its query."""
    query = request.headers.get(_ATTRIBUTES, "").encode("latin-1")
    parameters, catalog = QueryParams(query), services_of(request).catalog
    name, version = request.headers.get(_MODEL) or parameters.get("model"), parameters.get("version")
    if name != parameters.get("model", name):
        msg = f"model = {parameters['model'][:100]!r}: allowed is the model of {_MODEL}, {name!r}."
        raise InvalidParameter(msg)
    deployment = catalog.find(name or default_deployment(catalog).manifest.name, version)
    path, route = _OWN[deployment.manifest.task]
    scope = {**request.scope, "path": path, "query_string": query, "route": Route(path, route)}
    own_request = Request(scope, request.receive, request._send)  # noqa: SLF001  passed on
    with admitted(own_request, deployment, version) as model_request:
        try:
            return await route(model_request)
        except ANSWERED as error:
            return await answer_error(model_request, error)


ADAPTER = Adapter(
    routes=(
        Route("/ping", _ping, methods=["GET"]),
        Route("/invocations", _invocations, methods=["POST"]),
    ),
    write_error=_write_error,
    prefixes=("/invocations", "/ping"),
    open_paths=frozenset({"/ping"}),
)
