"""roboflow/inference's HTTP interface: ``/infer/…`` with JSON, and ``/{model}/{version}`` with an image.

A key may be a member of the JSON, or ``api_key`` in the query. So the body is read first, within the limits of bodies;
then the request is admitted.
"""

import random
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import UUID

from fastapi import Request, Response
from pydantic_core import to_json
from python_multipart.multipart import parse_options_header
from starlette.responses import JSONResponse
from starlette.routing import Route

from emo_serve.api.http.multipart import read_form
from emo_serve.api.http.services import services_of
from emo_serve.api.http.uploads import Upload, from_base64
from emo_serve.api.protocols.adapter import Adapter, refuse_query
from emo_serve.api.protocols.predicting import (
    admitted,
    body_of,
    excerpt,
    key_shown,
    member,
    parameters_for,
    parsed,
    predict,
    read_json,
)
from emo_serve.api.wire.problems import Problem
from emo_serve.engine.registry.catalog import Catalog
from emo_serve.engine.registry.deployment import Deployment
from emo_serve.errors import InvalidParameter, InvalidRequest
from emo_serve.manifest import Task
from emo_serve.vision.results import Classification, Detections, Parameters, Prediction

_STATUSES = {415: 400, 422: 400}
_PART = "file"
_MOST_CLASSES = 1000
_MOST_VALUES = 10_000  # of JSON: images are one each, and classes to filter by
_TASKS: dict[str, Task] = {"object-detection": "detect", "classification": "classify"}
_NAMES: Mapping[Task, Mapping[str, str]] = {
    "classify": {"confidence": "score_threshold"},
    "detect": {
        "confidence": "score_threshold",
        "iou_threshold": "iou_threshold",
        "overlap": "iou_threshold",
        "class_agnostic_nms": "class_agnostic",
        "class_filter": "classes",
        "classes": "classes",
        "max_detections": "max_detections",
    },
}
_WITHOUT_EFFECT = frozenset(
    {
        "active_learning_target_dataset",
        "allow_reduced_mask_resolution",
        "api_key",
        "countinference",
        "disable_active_learning",
        "fix_batch_size",
        "id",
        "image_type",
        "keypoint_confidence",
        "labels",
        "mask_decode_mode",
        "max_candidates",
        "model_type",
        "response_mask_format",
        "service_secret",
        "source",
        "source_info",
        "stroke",
        "tradeoff_factor",
        "usage_billable",
        "visualization_labels",
        "visualization_stroke_width",
    }
)
_ONLY_OFF = frozenset(
    {
        "disable_preproc_auto_orient",
        "disable_preproc_contrast",
        "disable_preproc_grayscale",
        "disable_preproc_static_crop",
        "include_anomaly_map",
        "visualize_predictions",
    }
)
_OFF = (None, False, "false", "False")


def _write_error(problem: Problem) -> Response:
    status = _STATUSES.get(problem.status, problem.status)
    return JSONResponse({"message": problem.detail or problem.title}, status, dict(problem.headers))


async def _infer(request: Request, task: Task) -> Response:
    refuse_query(request.scope, "api_key")
    async with body_of(request) as body, _json_of(request, body) as content:
        name, _, version = member(content, "model_id", str, "").partition("/")
        deployment = services_of(request).catalog.get(task, name or None, version or None)
        given = content.get("image")
        entries = given if isinstance(given, list) else [given]
        images = await parsed(body, lambda _: [_image(entry) for entry in entries])
        values = {key: value for key, value in content.items() if key not in {"image", "model_id"}}
        answers = await _answers(request, deployment, version, images, values)
        return _written(answers if isinstance(given, list) else answers[0])


async def _infer_legacy(request: Request) -> Response:
    """One image, as base64 or as a part of a form; parameters in the query."""
    async with body_of(request) as body:
        with key_shown(request, _key_of(request, None)):
            name, version = request.path_params["name"], str(request.path_params["version"])
            deployment = services_of(request).catalog.find(name, version)
            query: dict[str, Any] = dict(request.query_params)
            if query.get("image"):
                msg = "An image by its address in the query is not fetched. Send its bytes as base64, or in a form."
                raise InvalidRequest(msg)
            if query.pop("format", "json") != "json":
                msg = f"format = {request.query_params['format'][:100]!r}: allowed is json."
                raise InvalidParameter(msg)
            if not query.get("classes"):
                query.pop("classes", None)
            for percent in ("confidence", "overlap"):
                if percent in query:
                    query[percent] = _fraction(query[percent])
            images = [await _legacy_image(request, body)]
            return _written((await _answers(request, deployment, version, images, query))[0])


async def _registry(request: Request) -> Response:
    """What is served, under the name alone and with each version."""
    async with body_of(request) as body, _json_of(request, body) as content:
        catalog = services_of(request).catalog
        wanted = member(content, "model_id", str, "")
        if wanted:  # to be loaded: what is served is
            name, _, version = wanted.partition("/")
            catalog.find(name, version or None)
        return JSONResponse({"models": list(_described(catalog))})


def _described(catalog: Catalog) -> Iterator[dict[str, str]]:
    names = {task: name for name, task in _TASKS.items()}
    seen = set[str]()
    for deployment in catalog.all():
        manifest = deployment.manifest
        if manifest.task in names:
            for model_id in (manifest.name, f"{manifest.name}/{manifest.version}"):
                if model_id not in seen:
                    seen.add(model_id)
                    yield {"model_id": model_id, "task_type": names[manifest.task]}


# ---- requests ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _json_of(request: Request, body: bytes) -> AsyncIterator[dict[str, Any]]:
    """The JSON of a request, {} without a body, for a block in which its key counts as used.

    Raises InvalidRequest, or HTTPException 401 or RateExceeded for a key in it that is unknown or asks too often.
    """
    error, content = None, dict[str, Any]()
    try:
        content = await parsed(body, partial(read_json, max_values=_MOST_VALUES)) if body.strip() else {}
    except InvalidRequest as invalid:
        error = invalid
    with key_shown(request, _key_of(request, content.get("api_key"))):
        if error is not None:
            raise error
        yield content


def _key_of(request: Request, in_body: object) -> str:
    """The key in the body or else in the query; clients send ``None`` as a text where they have none."""
    key = in_body or request.query_params.get("api_key")
    return key if isinstance(key, str) and key != "None" else ""


def _image(entry: object) -> Upload:
    if not isinstance(entry, dict) or entry.get("type") != "base64" or not isinstance(entry.get("value"), str):
        kind = entry.get("type") if isinstance(entry, dict) else None
        why = "; an address is not fetched" if kind == "url" else ""
        msg = f'\'image\' must be {{"type": "base64", "value": text}}, or an array of such{why}.'
        raise InvalidRequest(msg)
    return from_base64(entry["value"])


async def _legacy_image(request: Request, body: bytes) -> Upload:
    media_type, options = parse_options_header(request.headers.get("content-type"))
    if media_type == b"multipart/form-data":
        take = partial(read_form, boundary=options.get(b"boundary", b""), max_images=1, part_name=_PART)
        return (await parsed(body, take)).images[0]
    if not body.strip():
        msg = f"There is no image: send it as base64, or in a form with a part named {_PART!r}."
        raise InvalidRequest(msg)
    return await parsed(body, lambda text: from_base64(text.strip().decode("latin-1")))


def _fraction(text: str) -> str | float:
    """A share that may be given in percent."""
    try:
        value = float(text)
    except ValueError:
        return text
    return value / 100 if value > 1 else value


def _parameters(deployment: Deployment, given: Mapping[str, Any]) -> Parameters:
    """The parameters of a prediction; raises InvalidParameter for those that cannot be followed."""
    task, called = deployment.manifest.task, dict[str, str]()
    names = _NAMES.get(task, {})
    found: dict[str, Any] = {"top_k": min(len(deployment.labels), _MOST_CLASSES)} if task == "classify" else {}
    for name, value in given.items():
        if name in names:
            found[names[name]] = None if value in ("default", "best") else value
            called[names[name]] = name
        elif name in _ONLY_OFF and value not in _OFF:
            msg = f"{name} = {excerpt(value)}: allowed is false."
            raise InvalidParameter(msg)
        elif name not in _ONLY_OFF | _WITHOUT_EFFECT:
            msg = f"Unknown parameter {name[:100]!r}: known for this model are {', '.join(names)}."
            raise InvalidParameter(msg)
    return parameters_for(deployment, found, called)


# ---- answers -------------------------------------------------------------------------------------------------------


async def _answers(
    request: Request, deployment: Deployment, version: str, images: list[Upload], given: Mapping[str, Any]
) -> list[dict[str, Any]]:
    with admitted(request, deployment, version) as model_request:
        deployment = model_request.deployment
        predictions = await predict(model_request, images, _parameters(deployment, given))
    return [_answer(deployment, prediction) for prediction in predictions]


def _answer(deployment: Deployment, prediction: Prediction) -> dict[str, Any]:
    answer = {
        "inference_id": _new_id(),
        "time": prediction.timings.stages["total"],
        "image": {"width": prediction.image.width, "height": prediction.image.height},
    }
    labels = deployment.labels
    match prediction.result:
        case Classification() as found:
            rows = zip(found.class_ids.tolist(), found.scores.tolist(), strict=True)
            classes = [{"class": labels[index], "class_id": index, "confidence": score} for index, score in rows]
            best = classes[0] if classes else {"class": "", "confidence": 0.0}
            return answer | {"predictions": classes, "top": best["class"], "confidence": best["confidence"]}
        case Detections() as found:
            objects = zip(found.class_ids.tolist(), found.scores.tolist(), found.boxes_xyxy.tolist(), strict=True)
            return answer | {"predictions": [_object(labels, *entry) for entry in objects]}
    msg = f"Model {deployment.manifest.name!r} is no classifier or detector; ask it by its own route."
    raise InvalidRequest(msg)


def _object(labels: tuple[str, ...], index: int, score: float, box: list[float]) -> dict[str, Any]:
    left, top, right, bottom = box
    return {
        "x": (left + right) / 2,
        "y": (top + bottom) / 2,
        "width": right - left,
        "height": bottom - top,
        "confidence": score,
        "class": labels[index],
        "class_id": index,
        "detection_id": _new_id(),
    }


def _new_id() -> str:
    return str(UUID(int=random.getrandbits(128), version=4))


def _written(answer: object) -> Response:
    return Response(to_json(answer, inf_nan_mode="null"), media_type="application/json")


ADAPTER = Adapter(
    routes=(
        Route("/infer/object_detection", partial(_infer, task="detect"), methods=["POST"]),
        Route("/infer/classification", partial(_infer, task="classify"), methods=["POST"]),
        Route("/model/registry", _registry, methods=["GET"]),
        Route("/model/add", _registry, methods=["POST"]),
        Route("/{name}/{version:int}", _infer_legacy, methods=["POST"]),
    ),
    write_error=_write_error,
    prefixes=("/infer", "/model"),
    key_in_form=True,
    reads_query=True,
)
