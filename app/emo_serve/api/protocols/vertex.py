"""Vertex AI's interface of a container: the paths that its variables name, or those that it uses without them."""

from collections.abc import Mapping

from fastapi import Request, Response
from starlette.responses import JSONResponse
from starlette.routing import Route

from emo_serve.api.http.services import services_of
from emo_serve.api.protocols.adapter import Adapter
from emo_serve.api.protocols.json_instances import answer_instances
from emo_serve.api.protocols.predicting import admitted, default_deployment
from emo_serve.api.routes import health
from emo_serve.api.wire.problems import Problem
from emo_serve.errors import StartupError

_HEALTH, _PREDICT = "AIP_HEALTH_ROUTE", "AIP_PREDICT_ROUTE"
_DEFAULT = "/v1/endpoints/{endpoint}/deployedModels/{deployed_model}"


def _write_error(problem: Problem) -> Response:
    return JSONResponse({"error": problem.detail or problem.title}, problem.status, dict(problem.headers))


async def _health(request: Request) -> Response:
    await health.readyz(request)
    return JSONResponse({})


async def _predict(request: Request) -> Response:
    with admitted(request, default_deployment(services_of(request).catalog)) as model_request:
        return await answer_instances(model_request)


def adapter(environment: Mapping[str, str]) -> Adapter:
    """The adapter with the paths that Vertex AI has set; raises StartupError if one is no path."""
    paths = {name: environment[name] for name in (_HEALTH, _PREDICT) if environment.get(name)}
    for name, path in paths.items():
        if not path.startswith("/") or "{" in path:
            msg = f"{name} = {path[:100]!r}: allowed is a path, as /predict"
            raise StartupError(msg)
    return Adapter(
        routes=(
            Route(paths.get(_PREDICT, f"{_DEFAULT}:predict"), _predict, methods=["POST"]),
            Route(paths.get(_HEALTH, _DEFAULT), _health, methods=["GET"]),
        ),
        write_error=_write_error,
        prefixes=("/v1/endpoints",),
        open_paths=frozenset({paths[_HEALTH]} if _HEALTH in paths else ()),
    )
