"""/classify and /detect: upload -> deployment -> answer. The routes only translate; /segment shares their steps."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from pydantic_core import to_json

from emo_serve.api.http.admission import Call, call_of, enter_again
from emo_serve.api.http.body_budget import Share
from emo_serve.api.http.disconnect import while_connected
from emo_serve.api.http.exchange import exchange_of
from emo_serve.api.http.services import services_of
from emo_serve.api.http.uploads import Upload, Uploads, is_form, read_uploads
from emo_serve.api.routes.openapi import CLASSIFY, DETECT
from emo_serve.api.wire.negotiation import negotiate
from emo_serve.api.wire.problems import problem_for
from emo_serve.api.wire.query import read_query, with_fields
from emo_serve.api.wire.schemas import ClassifyQuery, DetectQuery
from emo_serve.api.wire.serialization import classify_answer, coco_results, detect_answer
from emo_serve.engine.execution.pipeline import Prediction
from emo_serve.engine.execution.tasks import Parameters
from emo_serve.engine.registry.deployment import Deployment
from emo_serve.errors import DeadlineExceeded, InvalidParameter, InvalidRequest, ModelNotFound, QueueFull, Unavailable
from emo_serve.vision.draw import PictureType
from emo_serve.vision.results import Classification, ClassifyParameters, Detections, DetectParameters

JSON = "application/json"
PICTURES = ("image/png", "image/jpeg")

router = APIRouter(tags=["predict"])
Outcome = Prediction | Exception
Plan = TypeVar("Plan")


@dataclass(frozen=True, slots=True)
class Answered:
    """What a request sent and what became of each image."""

    uploads: Uploads
    outcomes: list[Outcome]
    deadline: float  # loop.time()


@router.post("/classify", response_model=None, **CLASSIFY)
async def classify(request: Request) -> Response:
    """The best classes of each image."""

    def plan() -> tuple[Call, ClassifyParameters]:
        query = read_query(request.scope["query_string"], ClassifyQuery)
        negotiate(exchange_of(request.scope).headers.get(b"accept"), (JSON,))
        parameters = ClassifyParameters(
            top_k=query.top_k, score_threshold=query.score_threshold, full_decode=query.full_decode
        )
        return call_of(request), parameters

    with services_of(request).bodies.share() as share:
        uploads, (call, parameters) = await read_request(request, share, ClassifyQuery, plan)
        answered = await answer_uploads(request, uploads, call, parameters)
    answers = [_classified(call.deployment, outcome) for outcome in answered.outcomes]
    return JsonResponse({"results": answers} if answered.uploads.several else answers[0])


@router.post("/detect", response_model=None, **DETECT)
async def detect(request: Request) -> Response:
    """The objects in each image and where they are; with ``Accept: image/png`` or ``image/jpeg`` drawn into it."""
    accept = exchange_of(request.scope).headers.get(b"accept")

    def plan() -> tuple[Call, DetectParameters, DetectQuery, str]:
        query = read_query(request.scope["query_string"], DetectQuery, "classes")
        media_type = negotiate(accept, (JSON,) if query.format == "coco" else (JSON, *PICTURES))
        _refuse_coco_conflict(query)
        call = call_of(request)
        parameters = DetectParameters(
            score_threshold=query.score_threshold,
            iou_threshold=query.iou_threshold,
            max_detections=query.max_detections,
            classes=class_names(query.classes, call.deployment.labels),
            class_agnostic=query.class_agnostic,
            full_decode=query.full_decode,
        )
        return call, parameters, query, media_type

    with services_of(request).bodies.share() as share:
        uploads, (call, parameters, query, media_type) = await read_request(request, share, DetectQuery, plan)
        answered = await answer_uploads(request, uploads, call, parameters)
        if answered.uploads.several:
            media_type = negotiate(accept, (JSON,))  # a picture shows one image
        if media_type != JSON:
            picture_type: PictureType = "image/png" if media_type == "image/png" else "image/jpeg"
            return await _picture(request, call.deployment, answered, picture_type)
    if query.format == "coco":
        return _coco(answered.outcomes)
    answers = [_detected(call.deployment, outcome, query) for outcome in answered.outcomes]
    return JsonResponse({"results": answers} if answered.uploads.several else answers[0])


def class_names(values: list[str] | None, labels: tuple[str, ...]) -> tuple[str, ...] | None:
    """The class names of a ``classes`` parameter; a value that is no name itself is taken apart at its commas.

    Raises InvalidParameter, which names the classes that are there.
    """
    if values is None:
        return None
    names: list[str] = []
    for value in values:
        names += [value] if value in labels else [name.strip() for name in value.split(",")]
    unknown = [name for name in names if name not in labels]
    if unknown:
        msg = f"classes = {unknown[0][:100]!r}: allowed are the labels of the model: {', '.join(labels)}."
        raise InvalidParameter(msg)
    return tuple(dict.fromkeys(names))


async def read_request(
    request: Request, share: Share, model: type[BaseModel], plan: Callable[[], Plan]
) -> tuple[Uploads, Plan]:
    """The images of the request, and the ``plan`` that follows from its query, whose fields are those of ``model``.

    What is wrong with the query is raised before the body is read. Where a form holds parameters, they are put into the
    query, and the plan is made again.
    """
    scope = request.scope
    exchange, services, missing = exchange_of(scope), services_of(request), None
    try:
        planned = plan()
    except ModelNotFound as error:
        if not is_form(exchange) or b"model=" in scope["query_string"]:
            raise
        missing = error  # the form may name a model that there is
    call = scope["state"]["call"]
    seconds = call.seconds if isinstance(call, Call) else services.settings.request_timeout_seconds
    most = services.settings.max_images_per_request
    try:
        uploads = await read_uploads(exchange, share, most, services.deadlines, seconds)
    except QueueFull:
        if isinstance(call, Call):
            call.deployment.count_refused_body()
        raise
    if uploads.fields and (query := with_fields(scope["query_string"], uploads.fields, model)) != scope["query_string"]:
        scope["query_string"] = query
        if any(name in {"model", "version"} for name, value in uploads.fields if value):
            enter_again(request)
        return uploads, plan()
    if missing is not None:
        raise missing
    return uploads, planned


async def answer_uploads(
    request: Request,
    uploads: Uploads,
    call: Call,
    parameters: Parameters,
) -> Answered:
    """What became of each image of the request; raises where that is one error for all of them."""
    exchange = exchange_of(request.scope)
    answers = _predict_all(uploads.images, parameters, call)
    outcomes = await while_connected(exchange, answers)
    exchange.timings += [outcome.timings for outcome in outcomes if isinstance(outcome, Prediction)]
    _raise_common_error(uploads, outcomes)
    return Answered(uploads, outcomes, call.deadline)


async def _predict_all(
    images: Sequence[Upload],
    parameters: Parameters,
    call: Call,
) -> list[Outcome]:
    async def predict(image: Upload) -> Outcome:
        if isinstance(image, InvalidRequest):
            return image
        try:
            return await call.deployment.predict(image, parameters, call.deadline, call.visit)
        except Exception as error:  # noqa: BLE001  it becomes this image's problem and leaves its neighbours alone
            return error

    if len(images) == 1:
        return [await predict(images[0])]
    return await asyncio.gather(*map(predict, images))


def _raise_common_error(uploads: Uploads, outcomes: Sequence[Outcome]) -> None:
    """Raise the error of a single image, and that of several if none of them could even be tried."""
    errors = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    if errors and not uploads.several:
        raise errors[0]
    if len(errors) == len(outcomes) and all(isinstance(error, Unavailable | DeadlineExceeded) for error in errors):
        raise errors[0]


def _classified(deployment: Deployment, outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, Exception):
        return {"error": problem_for(outcome).document()}
    if not isinstance(outcome.result, Classification):
        raise TypeError(outcome.result)
    return classify_answer(deployment.manifest, deployment.labels, outcome.image, outcome.result)


def _detected(deployment: Deployment, outcome: Outcome, query: DetectQuery) -> dict[str, Any]:
    if isinstance(outcome, Exception):
        return {"error": problem_for(outcome).document()}
    return detect_answer(
        deployment.manifest, deployment.labels, outcome.image, _detections(outcome), query.box_format, query.units
    )


def _coco(outcomes: Sequence[Outcome]) -> Response:
    """One flat list. It has no room for errors, so a header names the images that are missing from it."""
    errors = {position: outcome for position, outcome in enumerate(outcomes) if isinstance(outcome, Exception)}
    if len(errors) == len(outcomes):
        raise errors[0]
    results: list[dict[str, Any]] = []
    for position, outcome in enumerate(outcomes):
        if isinstance(outcome, Prediction):
            results += coco_results(position, outcome.image, _detections(outcome))
    return JsonResponse(results, [(b"x-failed-images", ",".join(map(str, errors)).encode())] if errors else [])


async def _picture(request: Request, deployment: Deployment, answered: Answered, media_type: PictureType) -> Response:
    (image,), (outcome,) = answered.uploads.images, answered.outcomes
    if isinstance(outcome, Exception) or isinstance(image, InvalidRequest):
        raise TypeError(outcome)
    drawing = deployment.draw(image, _detections(outcome), media_type, answered.deadline)
    return Response(await while_connected(exchange_of(request.scope), drawing), media_type=media_type)


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
