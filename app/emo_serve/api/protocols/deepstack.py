"""DeepStack's and CodeProject.AI's interface for cameras: a form with a picture -> the objects in it.

A key may be a field of the form. So the form is read first, within the limits of bodies; then the request is admitted.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request, Response
from python_multipart.multipart import parse_options_header
from starlette.responses import JSONResponse
from starlette.routing import Route

from emo_serve.api.http.multipart import Form, read_form
from emo_serve.api.http.services import services_of
from emo_serve.api.protocols.adapter import Adapter
from emo_serve.api.protocols.predicting import admitted, body_of, key_shown, parameters_for, parsed, predict
from emo_serve.api.wire.problems import Problem
from emo_serve.engine.registry.deployment import Deployment
from emo_serve.errors import InvalidRequest
from emo_serve.version import installed_version
from emo_serve.vision.results import Classification, Detections, Prediction

_PART = "image"
_MOST_OBJECTS = 20  # some clients have room for no more
_CALLED = MappingProxyType({"score_threshold": "min_confidence"})
_LEAST_CONFIDENCE = 0.4  # where the client says nothing
_MOST_FIELDS = 100
_MOST_TEXT_BYTES = 65_536  # of a form that has no picture
_STATUSES = {415: 400, 422: 400}
"""A client takes 400 for a picture that is none; other statuses stay."""


def _write_error(problem: Problem) -> Response:
    status = _STATUSES.get(problem.status, problem.status)
    content = {"success": False, "error": problem.detail or problem.title, "code": status}
    return JSONResponse(content, status, dict(problem.headers))


async def _detection(request: Request) -> Response:
    async with _form(request) as form:
        deployment = services_of(request).catalog.get("detect", request.path_params.get("name"))
        confidence = _field(form, "min_confidence") or _LEAST_CONFIDENCE
        prediction, labels = await _predicted(
            request, deployment, form, {"score_threshold": confidence, "max_detections": _MOST_OBJECTS}
        )
        found = prediction.result
        if not isinstance(found, Detections):
            raise TypeError(found)
        predictions = [
            {"label": labels[index], "confidence": score, **_corners(box)}
            for index, score, box in zip(
                found.class_ids.tolist(), found.scores.tolist(), found.boxes_xyxy.tolist(), strict=True
            )
        ]
        names = ", ".join(dict.fromkeys(labels[index] for index in found.class_ids.tolist()))
        message = f"Found {names}" if names else "No objects found"
        return _answer(prediction, message=message, count=len(predictions), predictions=predictions, command="detect")


async def _scene(request: Request) -> Response:
    async with _form(request) as form:
        deployment = services_of(request).catalog.get("classify")
        prediction, labels = await _predicted(request, deployment, form, {"top_k": 1})
        found = prediction.result
        if not isinstance(found, Classification):
            raise TypeError(found)
        label, score = labels[int(found.class_ids[0])], float(found.scores[0])
        return _answer(prediction, label=label, confidence=score, command="scene")


async def _custom_list(request: Request) -> Response:
    async with _form(request, has_image=False):
        deployments = services_of(request).catalog.all()
        names = dict.fromkeys(entry.manifest.name for entry in deployments if entry.manifest.task == "detect")
        return JSONResponse({"success": True, "models": list(names), "code": 200})


async def _update_available(_request: Request) -> Response:
    numbers = [int(part) if part.isdigit() else 0 for part in installed_version().split(".")]
    major, minor, patch = (*numbers, 0, 0, 0)[:3]
    version = {"major": major, "minor": minor, "patch": patch}
    return JSONResponse(
        {
            "success": True,
            "message": "This server does not look for updates.",
            "version": version,
            "current": version,
            "latest": version,
            "updateAvailable": False,
        }
    )


async def _predicted(
    request: Request, deployment: Deployment, form: Form, given: dict[str, Any]
) -> tuple[Prediction, tuple[str, ...]]:
    """The prediction and the names of its classes."""
    with admitted(request, deployment) as model_request:
        deployment = model_request.deployment
        (prediction,) = await predict(model_request, form.images, parameters_for(deployment, given, _CALLED))
    return prediction, deployment.labels


def _answer(prediction: Prediction, **members: object) -> Response:
    stages = prediction.timings.stages
    milliseconds = round(stages["total"] * 1000)
    return JSONResponse(
        {
            "success": True,
            **members,
            "moduleId": "emo-serve",
            "inferenceMs": round(stages["infer"] * 1000),
            "processMs": milliseconds,
            "analysisRoundTripMs": milliseconds,
            "code": 200,
        }
    )


def _corners(box: Sequence[float]) -> dict[str, int]:
    return dict(zip(("x_min", "y_min", "x_max", "y_max"), map(round, box), strict=True))


# ---- the form ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _form(request: Request, *, has_image: bool = True) -> AsyncIterator[Form]:
    """The form of a request, for a block in which its bytes count as held, and its key as being used.

    Raises InvalidRequest, or HTTPException 401 or RateExceeded for a key in the form that is unknown or asks too often.
    A form that cannot be read has none.
    """
    async with body_of(request) as body:
        media_type, options = parse_options_header(request.headers.get("content-type"))
        error, form = None, Form(())
        try:
            if media_type == b"application/x-www-form-urlencoded" or not body:
                form = Form((), tuple(_pairs(body)))
            else:
                boundary = options.get(b"boundary", b"")
                take = partial(read_form, boundary=boundary, max_images=1, part_name=_PART, has_image=has_image)
                form = await parsed(body, take)
        except InvalidRequest as invalid:
            error = invalid
        with key_shown(request, _field(form, "api_key")):
            if error is not None:
                raise error
            if has_image and not form.images:
                msg = f"There is no picture: send multipart/form-data with a part named {_PART!r}."
                raise InvalidRequest(msg)
            yield form


def _pairs(body: bytes) -> list[tuple[str, str]]:
    if len(body) > _MOST_TEXT_BYTES:
        msg = (
            f"A form of texts may have {_MOST_TEXT_BYTES} bytes: send multipart/form-data with a part named {_PART!r}."
        )
        raise InvalidRequest(msg)
    try:
        return parse_qsl(body.decode("latin-1"), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        msg = f"The form has more than {_MOST_FIELDS} fields, as many as are allowed."
        raise InvalidRequest(msg) from error


def _field(form: Form, name: str) -> str:
    """The value of a field; '' if there is none."""
    return next((value for field, value in form.fields if field == name), "")


ADAPTER = Adapter(
    routes=(
        Route("/v1/vision/detection", _detection, methods=["POST"]),
        Route("/v1/vision/custom/list", _custom_list, methods=["POST"]),
        Route("/v1/vision/custom/{name}", _detection, methods=["POST"]),
        Route("/v1/vision/scene", _scene, methods=["POST"]),
        Route("/v1/status/updateavailable", _update_available, methods=["GET"]),
    ),
    write_error=_write_error,
    prefixes=("/v1/vision", "/v1/status"),
    open_paths=frozenset({"/v1/status/updateavailable"}),
    key_in_form=True,
    reads_query=True,
)
