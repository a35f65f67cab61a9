"""/segment: the class of every pixel, as JSON, as a picture of labels or as an overlay."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Response

from emo_serve.api.http.admission import ModelRequest
from emo_serve.api.http.disconnect import cancel_on_disconnect
from emo_serve.api.routes.openapi import SEGMENT
from emo_serve.api.routes.predict import (
    JSON,
    PICTURES,
    JsonResponse,
    Outcome,
    answer_images,
    draw_picture,
    read_request,
)
from emo_serve.api.wire.negotiation import negotiate
from emo_serve.api.wire.problems import problem_for
from emo_serve.api.wire.query import read_query
from emo_serve.api.wire.schemas import SegmentQuery
from emo_serve.api.wire.serialization import serialize_segmentation
from emo_serve.engine.registry.deployment import Deployment
from emo_serve.errors import InvalidParameter, ServiceError
from emo_serve.vision.results import Segmentation, SegmentParameters

router = APIRouter(tags=["predict"])


@router.post("/segment", response_model=None, **SEGMENT)
async def segment(request: ModelRequest) -> Response:
    """The classes that each image consists of and where; with ``Accept: image/png`` a picture of their labels."""
    deployment, uploads, (parameters, query, media_type) = await read_request(request, SegmentQuery, _plan)
    outcomes = await answer_images(request, deployment, uploads.images, parameters, several=uploads.several)
    if uploads.several:  # a picture shows one image
        if query.format == "overlay":
            msg = "format = 'overlay': allowed is one image; this request may have several."
            raise InvalidParameter(msg)
        media_type = negotiate(request.exchange.headers.get(b"accept"), (JSON,))
    if media_type == "image/png" and query.format == "labels":
        return await _labels(request, deployment, outcomes)
    if media_type != JSON:
        return await draw_picture(request, deployment, uploads, outcomes, media_type)
    answers = [_segmented(deployment, outcome) for outcome in outcomes]
    return JsonResponse({"results": answers} if uploads.several else answers[0])


def _plan(request: ModelRequest) -> tuple[SegmentParameters, SegmentQuery, str]:
    query = read_query(request.scope["query_string"], SegmentQuery)
    available = PICTURES if query.format == "overlay" else (JSON, *PICTURES)
    media_type = negotiate(request.exchange.headers.get(b"accept"), available)
    return SegmentParameters(full_decode=query.full_decode), query, media_type


def _segmented(deployment: Deployment, outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, ServiceError):
        return {"error": problem_for(outcome).document()}
    return serialize_segmentation(deployment.manifest, deployment.labels, _segmentation(outcome))


async def _labels(request: ModelRequest, deployment: Deployment, outcomes: Sequence[Outcome]) -> Response:
    with cancel_on_disconnect(request.exchange):
        written = await deployment.write_class_map(_segmentation(outcomes[0]), request.deadline)
    return Response(written, media_type="image/png")


def _segmentation(outcome: Outcome) -> Segmentation:
    if isinstance(outcome, ServiceError) or not isinstance(outcome.result, Segmentation):
        raise TypeError(outcome)
    return outcome.result
