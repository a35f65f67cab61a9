"""``{"instances": […], "parameters": {…}}`` -> ``{"predictions": […]}``, as TensorFlow Serving, KServe and Vertex AI.

An instance is an encoded image, ``{"b64": …}``, by itself or under any one name, and gets the answer of the own route;
or it is the nested values (H, W, 3) of an image as the graph takes it, and gets the outputs of the graph.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from fastapi import Response
from numpy.typing import NDArray
from pydantic_core import to_json

from emo_serve.api.http.admission import ModelRequest
from emo_serve.api.http.uploads import Upload, from_base64
from emo_serve.api.protocols.open_inference_tensors import bytes_of_values, most_json_values
from emo_serve.api.protocols.predicting import (
    member,
    parameters_for,
    parsed,
    predict,
    read_body,
    read_json,
)
from emo_serve.api.wire.serialization import serialize_prediction
from emo_serve.engine.registry.deployment import Deployment
from emo_serve.errors import InvalidParameter, InvalidRequest
from emo_serve.manifest import Tensor
from emo_serve.vision.results import GraphOutputs, GraphParameters, Prediction

_SIGNATURE = "serving_default"


async def answer_instances(request: ModelRequest) -> Response:
    """The predictions for the instances of a request that was admitted, in their order."""
    deployment = request.deployment
    most = request.services.settings.max_images_per_request
    take = partial(_read, wanted=deployment.manifest.input, max_images=most)
    images, given = await parsed(await read_body(request), take)
    if all(isinstance(image, np.ndarray) for image in images):
        if given:
            msg = f"Unknown parameter {next(iter(given))[:100]!r}: the outputs of the graph depend on none."
            raise InvalidParameter(msg)
        predictions = await predict(request, images, GraphParameters())
        content = await asyncio.to_thread(_written, deployment, predictions)
    else:
        predictions = await predict(request, images, parameters_for(deployment, given))
        content = _written(deployment, predictions)
    return Response(content, media_type="application/json")


def _read(body: bytes, wanted: Tensor, max_images: int) -> tuple[list[Upload | NDArray[np.uint8]], Mapping[str, Any]]:
    content = read_json(body, most_json_values(wanted))
    signature = member(content, "signature_name", str, _SIGNATURE)
    if signature != _SIGNATURE:
        msg = f"signature_name = {signature[:100]!r}: there is {_SIGNATURE!r}."
        raise InvalidRequest(msg)
    instances = member(content, "instances", list, [])
    if not instances:
        msg = (
            "'instances' must be an array of images: {\"b64\": base64}, or the values of each as the graph takes them."
        )
        raise InvalidRequest(msg)
    if len(instances) > max_images:
        msg = f"The request has {len(instances)} instances; allowed are 1 to {max_images}."
        raise InvalidRequest(msg)
    images = [_image(instance, wanted) for instance in instances]
    if len({isinstance(image, np.ndarray) for image in images}) > 1:
        msg = "The instances must be all encoded images, or all values."
        raise InvalidRequest(msg)
    return images, member(content, "parameters", dict, {})


def _image(instance: object, wanted: Tensor) -> Upload | NDArray[np.uint8]:
    if isinstance(instance, dict) and len(instance) == 1:
        (inner,) = instance.values()
        text = inner.get("b64") if isinstance(inner, dict) else inner
        if isinstance(text, str):
            return from_base64(text)
        instance = inner
    if isinstance(instance, str):
        return from_base64(instance)
    if isinstance(instance, list):
        shape = wanted.shape[1:]
        values = bytes_of_values(instance, shape)
        if len(values) == np.prod(shape):
            return np.frombuffer(values, np.uint8).reshape(shape)
        msg = f"An instance has {len(values)} values; the graph takes {' x '.join(map(str, shape))}."
        raise InvalidRequest(msg)
    msg = 'An instance must be an encoded image, {"b64": base64}, or the values of one.'
    raise InvalidRequest(msg)


def _written(deployment: Deployment, predictions: Sequence[Prediction]) -> bytes:
    answers = [_prediction(deployment, prediction) for prediction in predictions]
    return to_json({"predictions": answers}, inf_nan_mode="null")


def _prediction(deployment: Deployment, prediction: Prediction) -> object:
    """The one output of a graph by itself, several by name, else the answer of the own route."""
    result = prediction.result
    if not isinstance(result, GraphOutputs):
        return serialize_prediction(deployment.manifest, deployment.labels, prediction)
    outputs = {name: values.tolist() for name, values in result.tensors.items()}
    return next(iter(outputs.values())) if len(outputs) == 1 else outputs
