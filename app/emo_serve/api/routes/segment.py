"""/segment: the class of every pixel, as JSON, as a picture of labels or as an overlay."""

from typing import Any

from fastapi import APIRouter, Request, Response

from emo_serve.api.http.admission import Call, call_of
from emo_serve.api.http.disconnect import while_connected
from emo_serve.api.http.exchange import exchange_of
from emo_serve.api.http.services import services_of
from emo_serve.api.routes.openapi import SEGMENT
from emo_serve.api.routes.predict import JSON, PICTURES, Answered, JsonResponse, Outcome, answer_uploads, read_request
from emo_serve.api.wire.negotiation import negotiate
from emo_serve.api.wire.problems import problem_for
from emo_serve.api.wire.query import read_query
from emo_serve.api.wire.schemas import SegmentQuery
from emo_serve.api.wire.serialization import segment_answer
from emo_serve.engine.registry.deployment import Deployment
from emo_serve.errors import InvalidParameter, InvalidRequest
from emo_serve.vision.draw import PictureType
from emo_serve.vision.results import Segmentation, SegmentParameters

router = APIRouter(tags=["predict"])


@router.post("/segment", response_model=None, **SEGMENT)
async def segment(request: Request) -> Response:
    """The classes that each image consists of and where; with ``Accept: image/png`` a picture of their labels."""
    accept = exchange_of(request.scope).headers.get(b"accept")

    def plan() -> tuple[Call, SegmentQuery, str]:
        query = read_query(request.scope["query_string"], SegmentQuery)
        media_type = negotiate(accept, PICTURES if query.format == "overlay" else (JSON, *PICTURES))
        return call_of(request), query, media_type

    with services_of(request).bodies.share() as share:
        uploads, (call, query, media_type) = await read_request(request, share, SegmentQuery, plan)
        deployment = call.deployment
        answered = await answer_uploads(request, uploads, call, SegmentParameters(full_decode=query.full_decode))
        if answered.uploads.several:  # a picture shows one image
            if query.format == "overlay":
                msg = "format = 'overlay': allowed is one image; this request may have several."
                raise InvalidParameter(msg)
            media_type = negotiate(accept, (JSON,))
        if media_type == "image/png" and query.format == "labels":
            return await _labels(request, deployment, answered)
        if media_type != JSON:
            return await _overlay(
                request, deployment, answered, "image/png" if media_type == "image/png" else "image/jpeg"
            )
    answers = [_segmented(deployment, outcome) for outcome in answered.outcomes]
    return JsonResponse({"results": answers} if answered.uploads.several else answers[0])


def _segmented(deployment: Deployment, outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, Exception):
        return {"error": problem_for(outcome).document()}
    return segment_answer(deployment.manifest, deployment.labels, _segmentation(outcome))


async def _labels(request: Request, deployment: Deployment, answered: Answered) -> Response:
    writing = deployment.write_class_map(_segmentation(answered.outcomes[0]), answered.deadline)
    return Response(await while_connected(exchange_of(request.scope), writing), media_type="image/png")


async def _overlay(request: Request, deployment: Deployment, answered: Answered, media_type: PictureType) -> Response:
    (image,), (outcome,) = answered.uploads.images, answered.outcomes
    if isinstance(image, InvalidRequest):
        raise TypeError(image)
    drawing = deployment.draw(image, _segmentation(outcome), media_type, answered.deadline)
    return Response(await while_connected(exchange_of(request.scope), drawing), media_type=media_type)


def _segmentation(outcome: Outcome) -> Segmentation:
    if isinstance(outcome, Exception) or not isinstance(outcome.result, Segmentation):
        raise TypeError(outcome)
    return outcome.result
