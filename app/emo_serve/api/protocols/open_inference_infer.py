"""Inference by the Open Inference Protocol, version 2: a request -> predictions -> named tensors."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from fastapi import Request, Response

from emo_serve.api.http.admission import ModelRequest
from emo_serve.api.http.services import services_of
from emo_serve.api.protocols.open_inference_tensors import (
    Array,
    InferRequest,
    RequestedOutput,
    read_request,
    write_response,
)
from emo_serve.api.protocols.predicting import admitted, member, parameters_for, parsed, predict, read_body
from emo_serve.engine.registry.deployment import Deployment
from emo_serve.errors import InvalidParameter, InvalidRequest
from emo_serve.manifest import Manifest
from emo_serve.vision.classify import best_indices
from emo_serve.vision.results import (
    Classification,
    ClassifyParameters,
    Detections,
    GraphOutputs,
    GraphParameters,
    Parameters,
    Prediction,
    Segmentation,
)

JSON_LENGTH = "Inference-Header-Content-Length"
_LONGEST_MICROSECONDS = 1 << 63  # more is no limit, and may be no float
_LARGE = 100_000  # values of outputs that are written in a thread
_RESERVED = frozenset({"priority", "timeout", "headers", "binary_data_output"})
_RESERVED_PREFIXES = ("sequence_", "triton_")
OF_PICTURES: Mapping[str, Mapping[str, tuple[str, tuple[int, ...]]]] = {
    "classify": {},
    "detect": {
        "detection_boxes": ("FP32", (-1, -1, 4)),
        "detection_scores": ("FP32", (-1, -1)),
        "detection_classes": ("INT64", (-1, -1)),
        "num_detections": ("INT64", (-1,)),
    },
    "segment": {"class_map": ("UINT8", (-1, -1, -1))},
}
"""The outputs for encoded images beside those of the graph, by task: datatype and shape, the batch first."""

Outputs = Sequence[tuple[RequestedOutput, Array]]
WriteOutputs = Callable[[Mapping[str, str], Outputs], Response]
"""Outputs -> the response; the model's name and version and the id of the request stand before them."""


async def infer(request: Request) -> Response:
    """The outputs for the images of a request: for pixels those of the graph, for encoded ones what was found."""
    catalog = services_of(request).catalog
    version = request.path_params.get("version")
    with admitted(request, catalog.find(request.path_params["name"], version), version) as model_request:
        return await _infer(model_request)


async def _infer(request: ModelRequest) -> Response:
    json_bytes = _json_length(request.headers.getlist(JSON_LENGTH))
    body = await read_body(request)
    most, wanted = request.services.settings.max_images_per_request, request.deployment.manifest.input
    take = partial(read_request, json_bytes=json_bytes, wanted=wanted, max_images=most)
    asked = await parsed(body, take, json_bytes)
    return await answer_inference(request, asked, _written)


async def answer_inference(request: ModelRequest, asked: InferRequest, write: WriteOutputs) -> Response:
    """What ``write`` makes of the outputs that are asked for; raises what is wrong, or the first error of an image."""
    deployment = request.deployment
    manifest = deployment.manifest
    wanted = _wanted_outputs(manifest, asked)
    microseconds = member(asked.parameters, "timeout", int, 0)
    if 0 < microseconds < _LONGEST_MICROSECONDS:
        request.deadline = min(request.deadline, asyncio.get_running_loop().time() + microseconds / 1e6)
    parameters = _parameters(deployment, asked)
    images = asked.images if asked.pixels is None else list(asked.pixels)
    predictions = await predict(request, images, parameters)
    finish = partial(_finish, deployment, asked, wanted, predictions, write)
    size = sum(prediction.image.width * prediction.image.height for prediction in predictions)
    is_large = manifest.task == "segment" and size > _LARGE
    is_large = is_large or sum(-int(np.prod(tensor.shape)) for tensor in manifest.outputs) * len(images) > _LARGE
    return await asyncio.to_thread(finish) if is_large else finish()


def _json_length(values: Sequence[str]) -> int | None:
    if not values:
        return None
    if len(values) > 1 or not values[0].isascii() or not values[0].isdigit() or len(values[0]) > 18:
        msg = f"{JSON_LENGTH}: {', '.join(values)[:100]!r}: allowed is one whole number, 0 for a body without JSON."
        raise InvalidRequest(msg)
    return int(values[0])


def _wanted_outputs(manifest: Manifest, asked: InferRequest) -> tuple[RequestedOutput, ...]:
    """The outputs to answer with; raises InvalidParameter for what the input does not give."""
    given = [output.name for output in manifest.outputs]
    if asked.pixels is None:
        given = list(OF_PICTURES[manifest.task]) or given
    for output in asked.outputs:
        if output.name not in given:
            msg = f"output {output.name[:100]!r}: allowed are, for this input, {', '.join(given)}."
            raise InvalidParameter(msg)
        if output.classes and manifest.task != "classify":
            msg = f"classification: output {output.name!r} holds no scores of classes for each image."
            raise InvalidParameter(msg)
    return asked.outputs or tuple(RequestedOutput(name, asked.is_binary, None) for name in given)


def _parameters(deployment: Deployment, asked: InferRequest) -> Parameters:
    own = {
        name: value
        for name, value in asked.parameters.items()
        if name not in _RESERVED and not name.startswith(_RESERVED_PREFIXES)
    }
    if asked.pixels is not None:
        if own:
            msg = f"Unknown parameter {next(iter(own))[:100]!r}: the outputs of the graph depend on none."
            raise InvalidParameter(msg)
        return GraphParameters()
    parameters = parameters_for(deployment, own)
    if isinstance(parameters, ClassifyParameters):  # the output has a place for every class
        if own.keys() - {"full_decode"}:
            msg = "For a classifier allowed is the parameter full_decode, and for an output classification."
            raise InvalidParameter(msg)
        return ClassifyParameters(top_k=deployment.manifest.num_classes, full_decode=parameters.full_decode)
    return parameters


# ---- outputs -------------------------------------------------------------------------------------------------------


def _finish(
    deployment: Deployment,
    asked: InferRequest,
    wanted: Sequence[RequestedOutput],
    predictions: Sequence[Prediction],
    write: WriteOutputs,
) -> Response:
    manifest = deployment.manifest
    arrays = _arrays(manifest, predictions)
    named = {} if asked.id is None else {"id": asked.id}
    head = {"model_name": manifest.name, "model_version": manifest.version, **named}
    outputs = []
    for output in wanted:
        array = arrays[output.name]()
        outputs.append((output, _classes(array, output.classes, deployment.labels) if output.classes else array))
    return write(head, outputs)


def _written(head: Mapping[str, str], outputs: Outputs) -> Response:
    body, json_bytes = write_response(head, outputs)
    if json_bytes is None:
        return Response(body, media_type="application/json")
    return Response(body, headers={JSON_LENGTH: str(json_bytes)}, media_type="application/octet-stream")


def _arrays(manifest: Manifest, predictions: Sequence[Prediction]) -> dict[str, Callable[[], Array]]:
    """A function for each output by name, which makes its array, the batch first."""
    results = [prediction.result for prediction in predictions]
    graph = [result.tensors for result in results if isinstance(result, GraphOutputs)]
    if graph:
        return {
            output.name: partial(np.stack, [tensors[output.name] for tensors in graph]) for output in manifest.outputs
        }
    found = [result for result in results if isinstance(result, Detections)]
    count = max((len(result.class_ids) for result in found), default=0)
    return {
        "scores": lambda: _scores([result for result in results if isinstance(result, Classification)], manifest),
        "detection_boxes": lambda: _padded([result.boxes_xyxy for result in found], count, np.float32),
        "detection_scores": lambda: _padded([result.scores for result in found], count, np.float32),
        "detection_classes": lambda: _padded([result.class_ids for result in found], count, np.int64),
        "num_detections": lambda: np.array([len(result.class_ids) for result in found], np.int64),
        "class_map": lambda: _class_maps([result for result in results if isinstance(result, Segmentation)]),
    }


def _scores(results: Sequence[Classification], manifest: Manifest) -> Array:
    """(N, C), in the order of the class ids."""
    scores = np.zeros((len(results), manifest.num_classes), np.float32)
    for row, result in zip(scores, results, strict=True):
        row[result.class_ids] = result.scores
    return scores


def _padded(rows: Sequence[Array], count: int, dtype: type[np.float32 | np.int64]) -> Array:
    """N x (K, ...) -> (N, count, ...), zeros after the K of each."""
    padded = np.zeros((len(rows), count, *rows[0].shape[1:]), dtype)
    for place, row in zip(padded, rows, strict=True):
        place[: len(row)] = row
    return padded


def _class_maps(results: Sequence[Segmentation]) -> Array:
    if len({result.class_map.shape for result in results}) > 1:
        msg = "The images have several sizes, and class_map has one: send each in a request of its own."
        raise InvalidRequest(msg)
    return np.stack([result.class_map for result in results])


def _classes(scores: Array, count: int, labels: Sequence[str]) -> Array:
    """(N, C) -> (N, K) texts ``score:class id:label``, the best first."""
    rows = []
    for row in scores.astype(np.float32):
        best = best_indices(row, count)
        rows.append([f"{row[index]:f}:{index}:{labels[index]}" for index in best])
    return np.array(rows, np.object_)
