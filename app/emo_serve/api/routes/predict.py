"""/classify and /detect: upload -> deployment -> answer. The routes only translate; /segment shares their steps."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from fastapi import APIRouter, Response
from numpy.typing import NDArray
from pydantic import BaseModel
from pydantic_core import to_json

from emo_serve.api.http.admission import ModelRequest
from emo_serve.api.http.disconnect import cancel_on_disconnect
from emo_serve.api.http.uploads import Upload, Uploads, is_form, read_uploads
from emo_serve.api.routes.openapi import CLASSIFY, DETECT
from emo_serve.api.wire.negotiation import negotiate
from emo_serve.api.wire.problems import problem_for
from emo_serve.api.wire.query import read_query, with_fields
from emo_serve.api.wire.schemas import ClassifyQuery, DetectQuery
from emo_serve.api.wire.serialization import coco_results, serialize_classification, serialize_detections
from emo_serve.engine.registry.deployment import Deployment
from emo_serve.engine.scheduling.job import Job
from emo_serve.errors import (
    DeadlineExceeded,
    InvalidParameter,
    InvalidRequest,
    ModelNotFound,
    QueueFull,
    ServiceError,
    Unavailable,
)
from emo_serve.labels import class_names
from emo_serve.vision.draw import PictureType
from emo_serve.vision.results import (
    Classification,
    ClassifyParameters,
    Detections,
    DetectParameters,
    Parameters,
    Prediction,
)

JSON = "application/json"
PICTURES = ("image/png", "image/jpeg")

router = APIRouter(tags=["predict"])
Outcome = Prediction | ServiceError
Plan = TypeVar("Plan")


@router.post("/classify", response_model=None, **CLASSIFY)
async def classify(request: ModelRequest) -> Response:
    """The best classes of each image."""
    deployment, uploads, parameters = await read_request(request, ClassifyQuery, _plan_classify)
    outcomes = await answer_images(request, deployment, uploads.images, parameters, several=uploads.several)
    answers = [_classified(deployment, outcome) for outcome in outcomes]
    return JsonResponse({"results": answers} if uploads.several else answers[0])


def _plan_classify(request: ModelRequest) -> ClassifyParameters:
    query = read_query(request.scope["query_string"], ClassifyQuery)
    negotiate(request.exchange.headers.get(b"accept"), (JSON,))
    return classify_parameters(query)


def classify_parameters(query: ClassifyQuery) -> ClassifyParameters:
    """The parameters in a query."""
    return ClassifyParameters(top_k=query.top_k, score_threshold=query.score_threshold, full_decode=query.full_decode)


@router.post("/detect", response_model=None, **DETECT)
async def detect(request: ModelRequest) -> Response:
    """The objects in each image and where they are; with ``Accept: image/png`` or ``image/jpeg`` drawn into it."""
    deployment, uploads, (parameters, query, media_type) = await read_request(request, DetectQuery, _plan_detect)
    outcomes = await answer_images(request, deployment, uploads.images, parameters, several=uploads.several)
    if uploads.several:
        media_type = negotiate(request.exchange.headers.get(b"accept"), (JSON,))  # a picture shows one image
    if media_type != JSON:
        return await draw_picture(request, deployment, uploads, outcomes, media_type)
    if query.format == "coco":
        return _coco(outcomes)
    answers = [_detected(deployment, outcome, query) for outcome in outcomes]
    return JsonResponse({"results": answers} if uploads.several else answers[0])


def _plan_detect(request: ModelRequest) -> tuple[DetectParameters, DetectQuery, str]:
    query = read_query(request.scope["query_string"], DetectQuery, "classes")
    available = (JSON,) if query.format == "coco" else (JSON, *PICTURES)
    media_type = negotiate(request.exchange.headers.get(b"accept"), available)
    _refuse_coco_conflict(query)
    return detect_parameters(query, request.deployment.labels), query, media_type


def detect_parameters(query: DetectQuery, labels: tuple[str, ...], called: str = "classes") -> DetectParameters:
    """The parameters in a query; raises InvalidParameter for classes that the model does not know.

    The error speaks of them as the parameter that is ``called`` so.
    """
    return DetectParameters(
        score_threshold=query.score_threshold,
        iou_threshold=query.iou_threshold,
        max_detections=query.max_detections,
        classes=class_names(query.classes, labels, called),
        class_agnostic=query.class_agnostic,
        full_decode=query.full_decode,
    )


async def read_request(
    request: ModelRequest, model: type[BaseModel], plan: Callable[[ModelRequest], Plan]
) -> tuple[Deployment, Uploads, Plan]:
    """The request's deployment, its images, and the ``plan`` for its query, whose fields are those of ``model``.

    Errors in the query are raised before the body is read. Where a form holds parameters, they are put into the
    query, and the plan is made again.
    """
    scope, services, missing = request.scope, request.services, None
    try:
        planned, deployment = plan(request), request.deployment
    except ModelNotFound as error:
        if not is_form(request.exchange) or b"model=" in scope["query_string"]:
            raise
        missing = error  # the form may name a model that there is
    most = services.settings.max_images_per_request
    try:
        uploads = await read_uploads(request.exchange, request.reservation, most, services.deadlines, request.seconds)
    except QueueFull:
        if missing is None:
            deployment.count_refused_body()
        raise
    if uploads.fields and (query := with_fields(scope["query_string"], uploads.fields, model)) != scope["query_string"]:
        scope["query_string"] = query
        if any(name in {"model", "version"} for name, value in uploads.fields if value):
            request.enter_again()
        planned, deployment = plan(request), request.deployment
    elif missing is not None:
        raise missing
    return deployment, uploads, planned


async def answer_images(
    request: ModelRequest,
    deployment: Deployment,
    images: Sequence[Upload | NDArray[np.uint8]],
    parameters: Parameters,
    *,
    several: bool,
) -> list[Outcome]:
    """Predictions or errors of the request's images, in order; raises an error that all of them share.

    An image is encoded, or pixels (H, W, 3) as the model takes them; ``several`` are answered as a list, even if one.
    """
    with cancel_on_disconnect(request.exchange):
        if len(images) == 1:
            outcomes = [await _answer(request, deployment, images[0], parameters)]
        else:
            outcomes = await asyncio.gather(*(_answer(request, deployment, image, parameters) for image in images))
    request.exchange.timings += [outcome.timings for outcome in outcomes if isinstance(outcome, Prediction)]
    _raise_common_error(outcomes, several=several)
    return outcomes


async def _answer(
    request: ModelRequest, deployment: Deployment, image: Upload | NDArray[np.uint8], parameters: Parameters
) -> Outcome:
    """The prediction or the error of one image; others are not affected."""
    if isinstance(image, InvalidRequest):
        return image
    try:
        return await deployment.predict(Job(image, parameters, request.deadline, request.ticket))
    except ServiceError as error:
        return error


def _raise_common_error(outcomes: Sequence[Outcome], *, several: bool) -> None:
    """Raise the error of a single image, and that of several if none of them could even be tried."""
    errors = [outcome for outcome in outcomes if isinstance(outcome, ServiceError)]
    if errors and not several:
        raise errors[0]
    if len(errors) == len(outcomes) and all(isinstance(error, Unavailable | DeadlineExceeded) for error in errors):
        raise errors[0]


def _classified(deployment: Deployment, outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, ServiceError):
        return {"error": problem_for(outcome).document()}
    if not isinstance(outcome.result, Classification):
        raise TypeError(outcome.result)
    return serialize_classification(deployment.manifest, deployment.labels, outcome.image, outcome.result)


def _detected(deployment: Deployment, outcome: Outcome, query: DetectQuery) -> dict[str, Any]:
    if isinstance(outcome, ServiceError):
        return {"error": problem_for(outcome).document()}
    return serialize_detections(
        deployment.manifest, deployment.labels, outcome.image, _detections(outcome), query.box_format, query.units
    )


def _coco(outcomes: Sequence[Outcome]) -> Response:
    """One flat list. It has no room for errors, so a header names the images that are missing from it."""
    errors = {position: outcome for position, outcome in enumerate(outcomes) if isinstance(outcome, ServiceError)}
    if len(errors) == len(outcomes):
        raise errors[0]
    results: list[dict[str, Any]] = []
    for position, outcome in enumerate(outcomes):
        if isinstance(outcome, Prediction):
            results += coco_results(position, outcome.image, _detections(outcome))
    return JsonResponse(results, [(b"x-failed-images", ",".join(map(str, errors)).encode())] if errors else [])


async def draw_picture(
    request: ModelRequest, deployment: Deployment, uploads: Uploads, outcomes: Sequence[Outcome], media_type: str
) -> Response:
    """The one image of the request with what was found drawn on it, as ``image/png`` or ``image/jpeg``."""
    (image,), (outcome,) = uploads.images, outcomes
    if isinstance(outcome, ServiceError) or isinstance(image, InvalidRequest):
        raise TypeError(outcome)
    picture_type: PictureType = "image/png" if media_type == "image/png" else "image/jpeg"
    with cancel_on_disconnect(request.exchange):
        drawn = await deployment.draw(image, outcome.result, picture_type, request.deadline)
    return Response(drawn, media_type=picture_type)


def _detections(prediction: Prediction) -> Detections:
    if not isinstance(prediction.result, Detections):
        raise TypeError(prediction.result)
    return prediction.result


def _refuse_coco_conflict(query: DetectQuery) -> None:
    if query.format != "coco":
        return
    wanted = {"box_format": "xywh", "units": "pixel"}
    for name in query.model_fields_set & wanted.keys():
        if getattr(query, name) != wanted[name]:
            msg = f"{name} = {getattr(query, name)!r}: with format=coco allowed is {wanted[name]!r} (or nothing)."
            raise InvalidParameter(msg)


class JsonResponse(Response):
    """The answer in as few bytes as it takes, without what ``Response`` does for other kinds of content."""

    def __init__(self, content: Any, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:  # noqa: ANN401  any JSON value
        self.status_code = 200
        self.background = None
        self.body = to_json(content, inf_nan_mode="null")
        self.raw_headers = [(b"content-length", b"%d" % len(self.body)), (b"content-type", JSON.encode()), *headers]
