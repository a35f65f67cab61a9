"""Tensors over gRPC: a ModelInferRequest -> its input, outputs -> a ModelInferResponse."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from emo_serve.api.protocols.grpc_messages import Message, message_class
from emo_serve.api.protocols.open_inference_infer import Outputs
from emo_serve.api.protocols.open_inference_tensors import (
    DATATYPES,
    Array,
    InferRequest,
    bytes_of_values,
    check_inputs,
    images_of,
    raw_bytes,
    requested_outputs,
    short_id,
)
from emo_serve.errors import InvalidRequest
from emo_serve.manifest import Tensor

_RESPONSE = message_class("ModelInferResponse")
_CONTENTS: Mapping[str, str] = {
    "UINT8": "uint_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "BYTES": "bytes_contents",
}
"""The field that holds the elements of a tensor that are not raw, by datatype."""


def read_request(message: Message, wanted: Tensor, max_images: int) -> InferRequest:
    """The request in a ModelInferRequest for a model whose input is ``wanted``; raises InvalidRequest."""
    check_inputs([entry.name for entry in message.inputs], wanted)
    (entry,) = message.inputs
    contents, raw = entry.contents, None
    if message.raw_input_contents:
        if len(message.raw_input_contents) != 1 or entry.HasField("contents"):
            msg = "'raw_input_contents' must have one element for the one input, whose 'contents' must be left out."
            raise InvalidRequest(msg)
        raw = memoryview(message.raw_input_contents[0])
    images, pixels = images_of(
        entry.datatype,
        list(entry.shape),
        raw,
        lambda _: contents.bytes_contents,
        lambda: bytes_of_values(list(contents.uint_contents)),
        wanted=wanted,
        max_images=max_images,
    )
    is_raw = raw is not None
    named = [{"name": output.name, "parameters": _values(output.parameters)} for output in message.outputs]
    for output in named:
        output["parameters"].pop("binary_data", None)  # all outputs travel alike
    outputs = requested_outputs(named, is_binary=is_raw)
    return InferRequest(images, pixels, short_id(message.id), _values(message.parameters), outputs, is_raw)


def _values(parameters: Mapping[str, Message]) -> dict[str, Any]:
    """Parameters by name; None for one without a value."""
    chosen = {name: entry.WhichOneof("parameter_choice") for name, entry in parameters.items()}
    return {name: getattr(parameters[name], kind) if kind else None for name, kind in chosen.items()}


def response_bytes(head: Mapping[str, str], outputs: Outputs) -> bytes:
    """A ModelInferResponse: outputs as raw elements where those of the input were, else in fields for their types."""
    message = _RESPONSE(**head)
    for wanted, array in outputs:
        datatype = DATATYPES[str(array.dtype)]
        entry = message.outputs.add(name=wanted.name, datatype=datatype, shape=array.shape)
        if wanted.is_binary:
            message.raw_output_contents.append(raw_bytes(array))
        else:
            getattr(entry.contents, _CONTENTS[datatype]).extend(_elements(array))
    content: bytes = message.SerializeToString()
    return content


def _elements(array: Array) -> Sequence[object]:
    if array.dtype == np.object_:
        return [str(text).encode() for text in array.ravel()]
    return array.ravel().tolist()
