"""/livez, /readyz and /metrics, for orchestrators, load balancers and monitoring."""

import asyncio

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from emo_serve.api.http.services import services_of
from emo_serve.api.routes.openapi import problem_answers
from emo_serve.api.wire.model_schemas import State
from emo_serve.api.wire.negotiation import negotiate
from emo_serve.errors import ModelNotReady, ShuttingDown, Unavailable
from emo_serve.metrics.merge import exposition, open_metrics, snapshot
from emo_serve.metrics.others import with_names

_TEXT, _OPEN_METRICS = "text/plain", "application/openmetrics-text"
_OPEN_METRICS_1 = f"{_OPEN_METRICS}; version=1.0.0; charset=utf-8"

router = APIRouter(tags=["operations"])


@router.head("/livez", include_in_schema=False)
@router.get("/livez", responses=problem_answers(503))
async def livez(request: Request) -> State:
    """Liveness: an error means that the process cannot do its work and must be restarted (it also exits by itself)."""
    if not services_of(request).catalog.alive:
        msg = "The batcher of a model has died; the process is shutting down."
        raise Unavailable(msg)
    return State(status="live")


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", responses=problem_answers(503))
async def readyz(request: Request) -> State:
    """Readiness: an error means that no requests should be sent here now."""
    services = services_of(request)
    if services.drain.is_set():
        msg = "The process has been told to stop and finishes what it has accepted."
        raise ShuttingDown(msg)
    not_ready_reasons = services.catalog.not_ready_reasons()
    if not_ready_reasons:
        msg = f"Not ready: {'; '.join(not_ready_reasons)}."
        raise ModelNotReady(msg)
    return State(status="ready")


@router.head("/metrics", include_in_schema=False)
@router.get("/metrics", response_class=Response, responses={200: {"content": {_TEXT: {}, _OPEN_METRICS: {}}}})
async def metrics(request: Request) -> Response:
    """The metrics of all workers, in Prometheus' text format or, where that is asked for, in OpenMetrics."""
    accept = ",".join((*request.headers.getlist("accept"), "*/*;q=0.001"))  # whatever is asked for, there is an answer
    is_open = negotiate(accept.encode("latin-1"), (_TEXT, _OPEN_METRICS)) == _OPEN_METRICS
    services = services_of(request)
    gather = services.gather_metrics
    gathered = snapshot(services.metrics.registry) if gather is None else await gather()
    gathered = with_names(gathered, services.settings.metric_names or ())
    # 10 ms if a model has predicted a thousand classes
    body = await asyncio.to_thread(open_metrics if is_open else exposition, gathered)
    return Response(body, media_type=_OPEN_METRICS_1 if is_open else CONTENT_TYPE_LATEST)
