"""The Open Inference Protocol, version 2, over HTTP, as Triton, KServe and their clients speak it.

Models are loaded and unloaded at the administration only, whose port has the repository's routes, too.
"""

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Route

from emo_serve.api.http.services import Services, services_of
from emo_serve.api.protocols.adapter import Adapter
from emo_serve.api.protocols.open_inference_infer import OF_PICTURES, infer
from emo_serve.api.protocols.open_inference_statistics import statistics
from emo_serve.api.protocols.open_inference_tensors import DATATYPES
from emo_serve.api.protocols.predicting import excerpt, member, read_json_body
from emo_serve.api.routes import admin, health
from emo_serve.api.wire.problems import Problem
from emo_serve.api.wire.schemas import NoQuery
from emo_serve.engine.registry.deployment import Deployment
from emo_serve.errors import InvalidParameter, ModelNotFound, ModelNotReady
from emo_serve.manifest import VERSION_PATTERN, Tensor, known_as
from emo_serve.version import installed_version

_EXTENSIONS = (
    "classification",
    "binary_tensor_data",
    "model_configuration",
    "model_repository",
    "schedule_policy",
    "statistics",
    "parameters",
)
_STATUSES: Mapping[int, int] = {406: 400, 409: 400, 415: 400, 422: 400}
"""Statuses that the protocol's clients do not know; others stay."""
ADMINISTRATION_ONLY = "Models are loaded and unloaded at the port of the administration, with its token."


def _write_error(problem: Problem) -> Response:
    status = _STATUSES.get(problem.status, problem.status)
    return JSONResponse({"error": problem.detail or problem.title}, status, dict(problem.headers))


# ---- server and models ---------------------------------------------------------------------------------------------


def server_metadata() -> dict[str, Any]:
    """The server's name, version and extensions."""
    return {"name": "emo-serve", "version": installed_version(), "extensions": list(_EXTENSIONS)}


def model_metadata(services: Services, deployment: Deployment) -> dict[str, Any]:
    """Inputs, outputs and versions of a model."""
    manifest = deployment.manifest
    outputs = [_tensor(output) for output in manifest.outputs]
    of_pictures = [
        {"name": name, "datatype": kind, "shape": shape} for name, (kind, shape) in OF_PICTURES[manifest.task].items()
    ]
    return {
        "name": manifest.name,
        "versions": list(services.catalog.versions(manifest.name)),
        "platform": "onnx_onnxv1",
        "inputs": [_tensor(manifest.input)],
        "outputs": outputs,  # for that input: some clients ask for all
        "parameters": {
            "task": manifest.task,
            "version": manifest.version,
            "labels": list(deployment.labels),
            "encoded_images": f"Input {manifest.input.name} may also be BYTES [N]: encoded images.",
            "encoded_images_outputs": of_pictures or outputs,
        },
    }


def model_config(services: Services, deployment: Deployment) -> dict[str, Any]:
    """The configuration of a model in Triton's words."""
    manifest = deployment.manifest

    def described(tensor: Tensor) -> dict[str, Any]:
        kind = DATATYPES[tensor.dtype]
        return {"name": tensor.name, "data_type": f"TYPE_{kind}", "dims": tensor.shape[1:]}

    return {
        "name": manifest.name,
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "max_batch_size": services.settings.batching.largest_batch,
        "input": [described(manifest.input)],
        "output": [described(output) for output in manifest.outputs],
    }


def repository_index(services: Services, *, only_ready: bool) -> list[dict[str, str]]:
    """What is served, and what failed to load."""
    catalog = services.catalog
    entries = [
        {
            "name": deployment.manifest.name,
            "version": deployment.manifest.version,
            "state": "READY" if deployment.ready else "UNAVAILABLE",
            "reason": "",
        }
        for deployment in catalog.all()
    ]
    for path, reason in catalog.failures.items():
        name, _, version = path.partition("/")
        entries.append({"name": name, "version": version, "state": "UNAVAILABLE", "reason": reason})
    return [entry for entry in entries if not only_ready or entry["state"] == "READY"]


def _tensor(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": DATATYPES[tensor.dtype], "shape": tensor.shape}


# ---- routes --------------------------------------------------------------------------------------------------------


async def _server(_request: Request) -> Response:
    return JSONResponse(server_metadata())


async def _live(request: Request) -> Response:
    await health.livez(request)
    return JSONResponse({"live": True})


async def _ready(request: Request) -> Response:
    await health.readyz(request)
    return JSONResponse({"live": True, "ready": True})


async def _models(request: Request) -> Response:
    names = dict.fromkeys(deployment.manifest.name for deployment in services_of(request).catalog.all())
    return JSONResponse({"models": list(names)})


async def _model(request: Request) -> Response:
    return JSONResponse(model_metadata(services_of(request), _deployment(request)))


async def _model_ready(request: Request) -> Response:
    deployment = _deployment(request)
    if not deployment.ready:
        msg = f"Model {deployment.manifest.name!r} is not ready."
        raise ModelNotReady(msg)
    return JSONResponse({"name": deployment.manifest.name, "ready": True})


async def _config(request: Request) -> Response:
    return JSONResponse(model_config(services_of(request), _deployment(request)))


async def _statistics(request: Request) -> Response:
    deployments = [_deployment(request)] if "name" in request.path_params else services_of(request).catalog.all()
    return JSONResponse({"model_stats": await statistics(services_of(request), deployments)})


def _deployment(request: Request) -> Deployment:
    return services_of(request).catalog.find(request.path_params["name"], request.path_params.get("version"))


# ---- the repository ------------------------------------------------------------------------------------------------


async def _index(request: Request) -> Response:
    only_ready = member(await read_json_body(request), "ready", bool, default=False)
    return JSONResponse(repository_index(services_of(request), only_ready=only_ready))


async def _elsewhere(_request: Request) -> Response:
    raise HTTPException(403, ADMINISTRATION_ONLY)


async def _load(request: Request) -> Response:
    name, version = request.path_params["name"], request.query_params.get("version")
    await _no_parameters(request)
    if version is None:
        version = await asyncio.to_thread(_newest, services_of(request), name)
    await admin.load(request, name, version, NoQuery())
    return JSONResponse({"name": name, "load": True})


async def _unload(request: Request) -> Response:
    name, version = request.path_params["name"], request.query_params.get("version")
    await _no_parameters(request)
    if version is None:
        served = services_of(request).catalog.versions(services_of(request).catalog.find(name).manifest.name)
        if len(served) > 1:
            msg = f"Name the version in the query, as ?version={next(iter(served))}: there are {', '.join(served)}."
            raise InvalidParameter(msg)
        version = next(iter(served))
    await admin.unload(request, name, version, NoQuery())
    return JSONResponse({"name": name, "unload": True})


async def _no_parameters(request: Request) -> None:
    """Raise InvalidParameter for a config or files to load a model with; no model depends on another."""
    for name in member(await read_json_body(request), "parameters", dict, {}):
        if name != "unload_dependents":
            msg = f"parameter {excerpt(name)}: models come from the repository as they are, without parameters."
            raise InvalidParameter(msg)


def _newest(services: Services, name: str) -> str:
    """The highest version of a model in the repository."""
    folders = {path.name: path for path in services.settings.models.iterdir() if path.is_dir()}
    name = known_as(name, folders)
    there = [path.name for path in folders[name].iterdir()] if name in folders else []
    versions = [version for version in there if re.fullmatch(VERSION_PATTERN, version)]
    if not versions:
        msg = f"The repository has no version of a model {name[:100]!r}."
        raise ModelNotFound(msg)
    return max(versions, key=int)


def _of_a_model(path: str, endpoint: Any, methods: list[str]) -> tuple[Route, Route]:  # noqa: ANN401  as Route has it
    return (
        Route(f"/v2/models/{{name}}{path}", endpoint, methods=methods),
        Route(f"/v2/models/{{name}}/versions/{{version}}{path}", endpoint, methods=methods),
    )


ADAPTER = Adapter(
    routes=(
        Route("/v2", _server, methods=["GET"]),
        Route("/v2/health/live", _live, methods=["GET"]),
        Route("/v2/health/ready", _ready, methods=["GET"]),
        Route("/v2/models", _models, methods=["GET"]),
        Route("/v2/models/stats", _statistics, methods=["GET"]),
        *_of_a_model("", _model, ["GET"]),
        *_of_a_model("/ready", _model_ready, ["GET"]),
        *_of_a_model("/config", _config, ["GET"]),
        *_of_a_model("/stats", _statistics, ["GET"]),
        *_of_a_model("/infer", infer, ["POST"]),
        Route("/v2/repository/index", _index, methods=["POST"]),
        Route("/v2/repository/models/{name}/load", _elsewhere, methods=["POST"]),
        Route("/v2/repository/models/{name}/unload", _elsewhere, methods=["POST"]),
    ),
    write_error=_write_error,
    prefixes=("/v2",),
    open_paths=frozenset({"/v2/health/live", "/v2/health/ready"}),
)
ADMIN_ADAPTER = Adapter(
    routes=(
        Route("/v2/repository/index", _index, methods=["POST"]),
        Route("/v2/repository/models/{name}/load", _load, methods=["POST"]),
        Route("/v2/repository/models/{name}/unload", _unload, methods=["POST"]),
    ),
    write_error=_write_error,
    prefixes=("/v2",),
    reads_query=True,
)
