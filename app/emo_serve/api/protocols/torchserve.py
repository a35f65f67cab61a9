"""TorchServe's inference interface: a picture, raw or in a form, and the answers of its image handlers."""

from functools import partial

from fastapi import Request, Response
from pydantic_core import to_json
from python_multipart.multipart import parse_options_header
from starlette.responses import JSONResponse
from starlette.routing import Route

from emo_serve.api.http.admission import ModelRequest
from emo_serve.api.http.multipart import read_form
from emo_serve.api.http.services import services_of
from emo_serve.api.http.uploads import Upload
from emo_serve.api.protocols.adapter import Adapter
from emo_serve.api.protocols.predicting import admitted, parameters_for, parsed, predict, read_body
from emo_serve.api.routes import health
from emo_serve.api.wire.problems import Problem
from emo_serve.api.wire.serialization import serialize_prediction
from emo_serve.engine.registry.deployment import Deployment
from emo_serve.errors import InvalidParameter, InvalidRequest
from emo_serve.vision.results import Classification, Detections, Prediction

_PART = "data"
_FAULTS = {401: "InvalidKeyException", 404: "ModelNotFoundException", 503: "ServiceUnavailableException"}


def _write_error(problem: Problem) -> Response:
    kind = _FAULTS.get(problem.status, "BadRequestException" if problem.status < 500 else "InternalServerException")
    content = {"code": problem.status, "type": kind, "message": problem.detail or problem.title}
    return JSONResponse(content, problem.status, dict(problem.headers))


async def _ping(request: Request) -> Response:
    await health.readyz(request)
    return JSONResponse({"status": "Healthy"})


async def _predictions(request: Request) -> Response:
    version = request.path_params.get("version")
    found = services_of(request).catalog.find(request.path_params["name"], version)
    with admitted(request, found, version) as model_request:
        image, deployment = await _image(model_request), model_request.deployment
        (prediction,) = await predict(model_request, [image], parameters_for(deployment, {}))
        return Response(to_json(_answer(deployment, prediction)), media_type="application/json")


async def _image(request: ModelRequest) -> Upload:
    media_type, options = parse_options_header(request.headers.get("content-type"))
    body = await read_body(request)
    if media_type == b"multipart/form-data":
        take = partial(read_form, boundary=options.get(b"boundary", b""), max_images=1, part_name=_PART)
        form = await parsed(body, take)
        for name, _ in form.fields:
            msg = f"Unknown field {name[:100]!r}: the form has a part named {_PART!r}, and no parameters."
            raise InvalidParameter(msg)
        return form.images[0]
    if media_type == b"application/json":
        msg = f"Send the bytes of the image (curl -T photo.jpg), or a form with a part named {_PART!r}, not JSON."
        raise InvalidRequest(msg)
    return body


def _answer(deployment: Deployment, prediction: Prediction) -> object:
    """The answer of ``image_classifier`` or ``object_detector``; for other tasks that of the own route."""
    labels = deployment.labels
    match prediction.result:
        case Classification() as found:
            return {
                labels[index]: score
                for index, score in zip(found.class_ids.tolist(), found.scores.tolist(), strict=True)
            }
        case Detections() as found:
            rows = zip(found.class_ids.tolist(), found.scores.tolist(), found.boxes_xyxy.tolist(), strict=True)
            return [{labels[index]: box, "score": score} for index, score, box in rows]
    return serialize_prediction(deployment.manifest, deployment.labels, prediction)


ADAPTER = Adapter(
    routes=(
        Route("/ping", _ping, methods=["GET"]),
        Route("/predictions/{name}", _predictions, methods=["POST", "PUT"]),
        Route("/predictions/{name}/{version}", _predictions, methods=["POST", "PUT"]),
    ),
    write_error=_write_error,
    prefixes=("/predictions", "/ping"),
    open_paths=frozenset({"/ping"}),
)
