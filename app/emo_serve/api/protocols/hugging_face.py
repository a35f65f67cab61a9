"""Hugging Face's inference API: a picture, or ``{"inputs": …, "parameters": …}``; the answers of its image tasks."""

import base64
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from fastapi import Request, Response
from pydantic_core import to_json
from starlette.responses import JSONResponse
from starlette.routing import Route

from emo_serve.api.http.admission import ModelRequest
from emo_serve.api.http.disconnect import cancel_on_disconnect
from emo_serve.api.http.services import services_of
from emo_serve.api.http.uploads import Upload, from_base64
from emo_serve.api.protocols.adapter import Adapter
from emo_serve.api.protocols.predicting import (
    admitted,
    default_deployment,
    excerpt,
    member,
    parameters_for,
    parsed,
    predict,
    read_body,
    read_json,
)
from emo_serve.api.wire.problems import Problem
from emo_serve.engine.registry.deployment import Deployment
from emo_serve.errors import ImageTooLarge, InvalidParameter, InvalidRequest
from emo_serve.manifest import Task
from emo_serve.vision.results import Classification, Detections, Prediction, Segmentation

_MOST_VALUES = 3000  # of JSON: 1000 images, each with the comma of its data: URI, and parameters
_NAMES: Mapping[Task, Mapping[str, str]] = {
    "classify": {"top_k": "top_k"},
    "detect": {"threshold": "score_threshold"},
    "segment": {},
}
"""The protocol's parameters, and ours."""
_ACCEPTED: Mapping[str, tuple[object, ...]] = {
    "function_to_apply": ("none", "softmax", "sigmoid"),
    "subtask": ("semantic",),
}
"""Parameters whose value changes nothing here."""

_MASKS = 4  # of the largest image: most pixels of all masks of an answer
_SIDES = ("xmin", "ymin", "xmax", "ymax")


def _write_error(problem: Problem) -> Response:
    return JSONResponse({"error": problem.detail or problem.title}, problem.status, dict(problem.headers))


async def _infer(request: Request) -> Response:
    catalog = services_of(request).catalog
    name = request.path_params.get("name")
    deployment = default_deployment(catalog) if name is None else catalog.find(name)
    with admitted(request, deployment) as model_request:
        return await _answer(model_request)


async def _answer(request: ModelRequest) -> Response:
    body, deployment = await read_body(request), request.deployment
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
        images, given, several = await parsed(body, partial(_read, task=deployment.manifest.task))
    else:
        images, given, several = [body], {}, False
    called = {own: name for name, own in _NAMES[deployment.manifest.task].items()}
    predictions = await predict(request, images, parameters_for(deployment, given, called))
    _check_masks(predictions, _MASKS * request.services.settings.max_image_pixels)
    with cancel_on_disconnect(request.exchange):
        answers = [await _task_answer(deployment, prediction, request.deadline) for prediction in predictions]
    return Response(to_json(answers if several else answers[0]), media_type="application/json")


def _read(body: bytes, task: Task) -> tuple[list[Upload], dict[str, Any], bool]:
    """The images, their parameters in our words, and whether they came as a list."""
    content = read_json(body, _MOST_VALUES)
    inputs = content.get("inputs")
    several = isinstance(inputs, list)
    texts = [text for text in (inputs if isinstance(inputs, list) else [inputs]) if isinstance(text, str)]
    if not texts or (isinstance(inputs, list) and len(texts) < len(inputs)):
        msg = "'inputs' must be an image as base64, or an array of them."
        raise InvalidRequest(msg)
    given = {}
    for name, value in member(content, "parameters", dict, {}).items():
        if name in _NAMES[task]:
            given[_NAMES[task][name]] = value
        elif name not in _ACCEPTED or value not in (None, *_ACCEPTED[name]):
            allowed = ", ".join((*_NAMES[task], *_ACCEPTED))
            msg = f"parameter {name[:100]!r} = {excerpt(value)}: known for {task} are {allowed}."
            raise InvalidParameter(msg)
    return [from_base64(text) for text in texts], given, several


def _check_masks(predictions: Sequence[Prediction], most: int) -> None:
    """Raise ImageTooLarge where the masks of an answer would have more than ``most`` pixels in all."""
    found = [prediction.result for prediction in predictions if isinstance(prediction.result, Segmentation)]
    pixels = sum(len(result.regions) * result.image.width * result.image.height for result in found)
    if pixels > most:
        msg = f"The masks have {pixels} pixels in all; allowed are {most}. Send smaller images, or ask /segment."
        raise ImageTooLarge(msg)


async def _task_answer(deployment: Deployment, prediction: Prediction, deadline: float) -> list[dict[str, Any]]:
    """The answer of the task's pipeline about one image."""
    labels = deployment.labels
    match prediction.result:
        case Classification() as found:
            rows = zip(found.class_ids.tolist(), found.scores.tolist(), strict=True)
            return [{"label": labels[index], "score": score} for index, score in rows]
        case Detections() as found:
            boxes = zip(found.class_ids.tolist(), found.scores.tolist(), found.boxes_xyxy.tolist(), strict=True)
            return [
                {"label": labels[index], "score": score, "box": dict(zip(_SIDES, map(round, box), strict=True))}
                for index, score, box in boxes
            ]
        case Segmentation() as found:
            masks = await deployment.write_masks(found, deadline)
            return [
                {"label": labels[region.class_id], "score": None, "mask": base64.b64encode(mask).decode()}
                for region, mask in zip(found.regions, masks, strict=True)
            ]
    raise TypeError(prediction.result)


ADAPTER = Adapter(
    routes=(
        Route("/", _infer, methods=["POST"]),
        Route("/models/{name}", _infer, methods=["POST"]),
    ),
    write_error=_write_error,
)
