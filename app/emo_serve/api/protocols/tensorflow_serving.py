"""TensorFlow Serving's REST interface and KServe's version 1, which share their paths.

``GET /v1/models/{name}`` answers for both: a client of the one does not look at what the other's reads.
"""

from typing import Any

from fastapi import Request, Response
from starlette.responses import JSONResponse
from starlette.routing import Route

from emo_serve.api.http.services import services_of
from emo_serve.api.protocols.adapter import Adapter
from emo_serve.api.protocols.json_instances import answer_instances
from emo_serve.api.protocols.predicting import admitted
from emo_serve.api.wire.problems import Problem
from emo_serve.engine.registry.deployment import Deployment
from emo_serve.errors import ModelNotReady
from emo_serve.manifest import Tensor

_STATUSES = {415: 400, 422: 400}
_TYPES = {"uint8": "DT_UINT8", "float32": "DT_FLOAT"}


def _write_error(problem: Problem) -> Response:
    status = _STATUSES.get(problem.status, problem.status)
    return JSONResponse({"error": problem.detail or problem.title}, status, dict(problem.headers))


def _deployment(request: Request) -> Deployment:
    return services_of(request).catalog.find(request.path_params["name"], request.path_params.get("version"))


async def _predict(request: Request) -> Response:
    with admitted(request, _deployment(request), request.path_params.get("version")) as model_request:
        return await answer_instances(model_request)


async def _models(request: Request) -> Response:
    names = dict.fromkeys(deployment.manifest.name for deployment in services_of(request).catalog.all())
    return JSONResponse({"models": list(names)})


async def _status(request: Request) -> Response:
    deployment = _deployment(request)
    if not deployment.ready:
        msg = f"Model {deployment.manifest.name!r} is not ready."
        raise ModelNotReady(msg)
    name, catalog = deployment.manifest.name, services_of(request).catalog
    served = catalog.versions(name)
    if "version" in request.path_params:
        served = {deployment.manifest.version: deployment}
    statuses = [
        {
            "version": version,
            "state": "AVAILABLE" if entry.ready else "END",
            "status": {"error_code": "OK", "error_message": ""},
        }
        for version, entry in reversed(served.items())
    ]
    return JSONResponse({"name": name, "ready": True, "model_version_status": statuses})


async def _metadata(request: Request) -> Response:
    manifest = _deployment(request).manifest
    signature = {
        "inputs": {manifest.input.name: _described(manifest.input)},
        "outputs": {output.name: _described(output) for output in manifest.outputs},
        "method_name": "tensorflow/serving/predict",
    }
    return JSONResponse(
        {
            "model_spec": {"name": manifest.name, "signature_name": "", "version": manifest.version},
            "metadata": {"signature_def": {"signature_def": {"serving_default": signature}}},
        }
    )


def _described(tensor: Tensor) -> dict[str, Any]:
    sizes = [{"size": str(size), "name": ""} for size in tensor.shape]
    return {"name": tensor.name, "dtype": _TYPES[tensor.dtype], "tensor_shape": {"dim": sizes, "unknown_rank": False}}


_MODEL = "/v1/models/{name}"
_PATHS = (_MODEL, f"{_MODEL}/versions/{{version}}", f"{_MODEL}/labels/{{version}}")

ADAPTER = Adapter(
    routes=(
        Route("/v1/models", _models, methods=["GET"]),
        *(Route(f"{path}:predict", _predict, methods=["POST"]) for path in _PATHS),
        *(Route(f"{path}/metadata", _metadata, methods=["GET"]) for path in _PATHS),
        *(Route(path, _status, methods=["GET"]) for path in _PATHS),
    ),
    write_error=_write_error,
    prefixes=("/v1/models",),
)
