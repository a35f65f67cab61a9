"""Tensors of the Open Inference Protocol, version 2: a request's bytes -> its input, and output arrays -> a response.

A body is JSON, or JSON of the length that a header states, followed by raw tensors: little-endian, row-major, a text as
its length in four bytes and its bytes.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

from emo_serve.api.http.uploads import Upload, from_base64
from emo_serve.api.protocols.predicting import excerpt, member, read_json
from emo_serve.errors import InvalidRequest
from emo_serve.manifest import Tensor

Array = NDArray[np.float32] | NDArray[np.int64] | NDArray[np.uint8] | NDArray[np.object_]
"""An output; of objects, it is one of texts."""

DATATYPES: Mapping[str, str] = {"uint8": "UINT8", "int64": "INT64", "float32": "FP32", "object": "BYTES"}
"""NumPy's name of a type -> the protocol's."""
_MOST_JSON_VALUES = 1_000_000
_LONGEST_TEXT = 1000
_LENGTH_BYTES = 4
_SHOWN = 100


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """An output that the request names; ``classes``: the best of them are wanted, as texts, in the place of numbers."""

    name: str
    is_binary: bool
    classes: int | None


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A request: encoded images, or ``pixels`` (N, H, W, 3) for the graph."""

    images: tuple[Upload, ...]
    pixels: NDArray[np.uint8] | None
    id: str | None
    parameters: Mapping[str, Any]
    outputs: tuple[RequestedOutput, ...]
    """Names of the requested outputs; empty: all."""
    is_binary: bool
    """True if outputs that are not named are wanted as raw bytes."""


def read_request(body: bytes, json_bytes: int | None, wanted: Tensor, max_images: int) -> InferRequest:
    """The request in a body whose first ``json_bytes`` are JSON: all of them if None; if 0, it is one raw image.

    ``wanted`` is the input of the model's graph. Raises InvalidRequest.
    """
    if json_bytes == 0:
        return InferRequest((body,), None, None, {}, (), is_binary=True)
    if json_bytes is not None and json_bytes > len(body):
        msg = f"The header says that {json_bytes} bytes are JSON, and the body has {len(body)}."
        raise InvalidRequest(msg)
    head = body[:json_bytes]
    content = read_json(head, most_json_values(wanted))
    raw = memoryview(body)[len(head) :]
    parameters = member(content, "parameters", dict, {})
    images, pixels = _read_input(member(content, "inputs", list, []), raw, wanted, max_images)
    is_binary = member(parameters, "binary_data_output", bool, default=False)
    outputs = requested_outputs(member(content, "outputs", list, []), is_binary=is_binary)
    return InferRequest(images, pixels, short_id(member(content, "id", str, "")), parameters, outputs, is_binary)


def most_json_values(wanted: Tensor) -> int:
    """How many values, arrays included, JSON may have that holds pixels for the graph: those of an image, nested."""
    return max(_MOST_JSON_VALUES, 2 * math.prod(wanted.shape[1:]))


def write_response(
    head: Mapping[str, Any], outputs: Sequence[tuple[RequestedOutput, Array]]
) -> tuple[bytes, int | None]:
    """The body, and how many bytes of it are JSON if raw tensors follow."""
    entries, raw = [], []
    for wanted, array in outputs:
        entry: dict[str, Any] = {
            "name": wanted.name,
            "datatype": DATATYPES[str(array.dtype)],
            "shape": list(array.shape),
        }
        if wanted.is_binary:
            raw.append(raw_bytes(array))
            entry["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            entry["data"] = array.ravel().tolist()
        entries.append(entry)
    content = to_json({**head, "outputs": entries}, inf_nan_mode="null")
    return (b"".join((content, *raw)), len(content)) if raw else (content, None)


def raw_bytes(array: Array) -> bytes:
    """An output's elements as they travel raw."""
    if array.dtype != np.object_:
        return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    texts = [str(text).encode() for text in array.ravel()]
    return b"".join(len(text).to_bytes(_LENGTH_BYTES, "little") + text for text in texts)


# ---- the input -----------------------------------------------------------------------------------------------------


def _read_input(
    inputs: list[Any], raw: memoryview, wanted: Tensor, max_images: int
) -> tuple[tuple[Upload, ...], NDArray[np.uint8] | None]:
    check_inputs([entry.get("name") if isinstance(entry, dict) else None for entry in inputs], wanted)
    (entry,) = inputs
    shape = member(entry, "shape", list, [])
    data = entry.get("data")
    return images_of(
        entry.get("datatype"),
        shape,
        _binary(entry, raw),
        partial(_json_images, data),
        partial(bytes_of_values, data, shape),
        wanted=wanted,
        max_images=max_images,
    )


def check_inputs(names: Sequence[object], wanted: Tensor) -> None:
    """Raise InvalidRequest unless the one input is called as that of the model."""
    if len(names) != 1 or names[0] != wanted.name:
        msg = (
            f"The inputs are {', '.join(map(excerpt, names[:5])) or 'none'}; the model has one, called {wanted.name!r}."
        )
        raise InvalidRequest(msg)


def images_of(
    datatype: object,
    shape: Sequence[Any],
    raw: memoryview | None,
    elements: Callable[[int], Iterable[Upload]],
    values: Callable[[], bytes],
    *,
    wanted: Tensor,
    max_images: int,
) -> tuple[tuple[Upload, ...], NDArray[np.uint8] | None]:
    """The encoded images, or the pixels (N, H, W, 3), of an input of this type and shape; raises InvalidRequest.

    Where its bytes are not ``raw``, ``elements`` gives so many encoded images, and ``values`` those of pixels.
    """
    if not shape or any(type(size) is not int or size < 0 for size in shape):
        msg = f"'shape' must be an array of whole numbers, not {excerpt(shape)}."
        raise InvalidRequest(msg)
    if not 1 <= shape[0] <= max_images:
        msg = f"The input has {str(shape[0])[:_SHOWN]} images by its shape; allowed are 1 to {max_images}."
        raise InvalidRequest(msg)
    if datatype == "BYTES" and list(shape[1:]) in ([], [1]):
        found = _texts(raw) if raw is not None else elements(shape[0])
        images = tuple(islice(found, shape[0] + 1))
        if len(images) != shape[0]:
            said = "more" if len(images) > shape[0] else len(images)
            msg = f"The input has {said} elements, and its shape says {shape[0]}."
            raise InvalidRequest(msg)
        return images, None
    if datatype == "UINT8" and tuple(shape[1:]) == wanted.shape[1:]:
        given = raw if raw is not None else memoryview(values())
        if len(given) != math.prod(shape):
            msg = f"The input has {len(given)} values, and its shape says {math.prod(shape)}."
            raise InvalidRequest(msg)
        return (), np.frombuffer(given, np.uint8).reshape(shape)
    pixel_shape = ", ".join(map(str, wanted.shape[1:]))
    msg = (
        f"The input is {excerpt(datatype)} {excerpt(shape)}; allowed are BYTES [N], N encoded images, and "
        f"UINT8 [N, {pixel_shape}], N images as the graph takes them: red, green and blue from 0 to 255."
    )
    raise InvalidRequest(msg)


def _binary(entry: Mapping[str, Any], raw: memoryview) -> memoryview | None:
    """The raw bytes of the only input; None if it is in the JSON."""
    size = member(member(entry, "parameters", dict, {}), "binary_data_size", int, None)
    if size is None and not raw:
        return None
    if size != len(raw) or entry.get("data") is not None:
        msg = f"{len(raw)} bytes follow the JSON; 'binary_data_size' must say so, and 'data' be left out."
        raise InvalidRequest(msg)
    return raw


def _texts(raw: memoryview) -> Iterator[bytes]:
    at = 0
    while at < len(raw):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(raw[at:start], "little")
        if start > len(raw) or at > len(raw):
            msg = "An element of the input is cut off: it is its length in four bytes, the lowest first, and its bytes."
            raise InvalidRequest(msg)
        yield bytes(raw[start:at])


def _json_images(data: object, count: int) -> Iterator[Upload]:
    """Texts of base64, or the values of bytes."""
    elements = data if isinstance(data, list) else [data]
    if count == 1 and elements and all(type(value) is int for value in elements):
        elements = [elements]
    for element in elements:
        inner = element[0] if isinstance(element, list) and len(element) == 1 else element
        if isinstance(inner, str):
            yield from_base64(inner)
        else:
            yield bytes_of_values(inner if isinstance(inner, list) else element)


def bytes_of_values(data: object, shape: Sequence[int] = ()) -> bytes:
    """Whole numbers from 0 to 255 as bytes, in one array or in arrays as ``shape`` says; raises InvalidRequest."""
    values = np.array(data, np.object_)
    if values.ndim != 1 and values.shape != tuple(shape):
        allowed = f"one array, or arrays of the shape {list(shape)}" if shape else "one array"
        msg = f"The values of an image must be whole numbers from 0 to 255 in {allowed}."
        raise InvalidRequest(msg)
    numbers = values.ravel().tolist()
    if all(type(number) is int and 0 <= number <= 255 for number in numbers):
        return bytes(numbers)
    msg = "The values of an image must be whole numbers from 0 to 255, and an encoded image a text of base64."
    raise InvalidRequest(msg)


# ---- requested outputs ---------------------------------------------------------------------------------------------


def requested_outputs(entries: Iterable[object], *, is_binary: bool) -> tuple[RequestedOutput, ...]:
    """The outputs that a request names, each ``{name, parameters}``; raises InvalidRequest.

    They are ``is_binary`` where their parameters do not say.
    """
    outputs = tuple(_requested(entry, is_binary) for entry in entries)
    if len({output.name for output in outputs}) != len(outputs):
        msg = "An output is requested twice; allowed is once."
        raise InvalidRequest(msg)
    return outputs


def _requested(entry: object, is_binary: bool) -> RequestedOutput:  # noqa: FBT001  by position
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        msg = "Each of the 'outputs' must be an object with a 'name'."
        raise InvalidRequest(msg)
    parameters = member(entry, "parameters", dict, {})
    classes = member(parameters, "classification", int, 0)
    if classes < 0:
        msg = f"classification = {classes}: allowed is a whole number, at least 1."
        raise InvalidRequest(msg)
    binary = member(parameters, "binary_data", bool, is_binary)
    return RequestedOutput(entry["name"], binary, classes or None)


def short_id(text: str) -> str | None:
    """The id of a request, None for an empty one; raises InvalidRequest for a long one."""
    if len(text) > _LONGEST_TEXT:
        msg = f"'id' has {len(text)} characters; allowed are {_LONGEST_TEXT}."
        raise InvalidRequest(msg)
    return text or None
