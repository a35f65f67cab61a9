"""An ONNX file, checked and described; but for ``app.add.wrap`` and ``app.add.nodes`` nobody else knows ``onnx``."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import onnx
from onnx import TensorProto, version_converter

from app.errors import StartupError

MAX_BYTES = 1024**3
OLDEST_OPSET = 13
"""The first in which the operators of ``app.add.wrap`` have their present form."""

_EMO_STEM = ((24, 3, 3, 3), (24, 1, 3, 3), (24, 24, 1, 1), (24, 24, 1, 1), (24, 24, 1, 1))

_DTYPES: dict[int, str] = {TensorProto.UINT8: "uint8", TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16"}


@dataclass(frozen=True, slots=True)
class GraphTensor:
    """An input or output of the graph; None in ``shape`` is a dimension that the graph leaves open."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        """As people read it."""
        shape = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name} {self.dtype} ({shape})"


@dataclass(frozen=True, slots=True)
class Network:
    """A graph that may be wrapped."""

    model: onnx.ModelProto
    inputs: tuple[GraphTensor, ...]
    outputs: tuple[GraphTensor, ...]
    labels: tuple[str, ...] | None
    """The class names that some exporters write into the file."""
    metadata: Mapping[str, str]
    """Whatever else they write."""

    @property
    def is_ultralytics(self) -> bool:
        """Whether its metadata is what Ultralytics writes, of which YOLOv5 wrote no more than two keys."""
        is_signed = "ultralytics" in self.metadata.get("author", "").lower()
        return is_signed or {"stride", "names"} <= self.metadata.keys()


def read_network(path: Path) -> Network:
    """The network in the file; raises StartupError where it is none, too large, not in one file or too old."""
    try:
        size = path.stat().st_size
        model = onnx.load(path, load_external_data=False) if size <= MAX_BYTES else None
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise StartupError(msg) from error
    except Exception as error:  # protobuf's DecodeError is of a package that is not ours to import
        msg = f"{path}: is no ONNX file: {error}"
        raise StartupError(msg) from error
    if model is None:
        msg = f"{path}: has {size} bytes; allowed are {MAX_BYTES}"
        raise StartupError(msg)
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in _tensors(model.graph)):
        msg = f"{path}: keeps weights in a second file; export it as one file (PyTorch: external_data=False)"
        raise StartupError(msg)
    try:
        onnx.checker.check_model(model)
        model = _renewed(model)
    except Exception as error:  # the checker and the converter raise various errors
        msg = f"{path}: is no valid ONNX model of opset {OLDEST_OPSET} or newer: {error}"
        raise StartupError(msg) from error
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = tuple(_describe(value) for value in model.graph.input if value.name not in weights)
    outputs = tuple(_describe(value) for value in model.graph.output)
    metadata = MappingProxyType({entry.key: entry.value for entry in model.metadata_props})
    return Network(model, inputs, outputs, _labels(metadata.get("names", "")), metadata)


def begins_as_emo(model: onnx.ModelProto) -> bool:
    """Whether its first convolutions are those of EMO's stem (arXiv 2301.01146, table 2), as exporters write them."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    found = [shapes.get(node.input[1]) for node in model.graph.node if node.op_type == "Conv"]
    return tuple(found[: len(_EMO_STEM)]) == _EMO_STEM


def _renewed(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network in an opset that can be wrapped."""
    opset = next((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), OLDEST_OPSET)
    if opset >= OLDEST_OPSET:
        return model
    return version_converter.convert_version(model, OLDEST_OPSET)


def _tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        for inner in (attribute.g, *attribute.graphs):
            yield from _tensors(inner)


def _describe(value: onnx.ValueInfoProto) -> GraphTensor:
    tensor = value.type.tensor_type
    dtype = _DTYPES.get(tensor.elem_type) or TensorProto.DataType.Name(tensor.elem_type).lower()
    shape = (dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in tensor.shape.dim)
    return GraphTensor(value.name, dtype, tuple(shape))


def _labels(text: str) -> tuple[str, ...] | None:
    """``names`` of the metadata, such as ``{0: 'person', 1: 'bicycle'}``."""
    try:
        names = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None
    if isinstance(names, dict) and sorted(names) == list(range(len(names))):
        return _texts(names[number] for number in range(len(names)))
    return _texts(names) if isinstance(names, list) else None


def _texts(names: Iterable[object]) -> tuple[str, ...]:
    return tuple(str(name).strip() for name in names)
