"""An ONNX file, checked and described; ``onnx`` is only used here and in opset, origin, nodes and graph_builder."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import onnx
from onnx import TensorProto, external_data_helper

from emo_serve.errors import StartupError
from emo_serve.files import GIT_LFS_ADVICE, is_git_lfs_pointer
from emo_serve.onnx_import.opset import OLDEST_OPSET, opset_of, upgraded
from emo_serve.onnx_import.origin import Origin, origin_of, selects

MAX_BYTES = 1024**3

_EMO_STEM = ((24, 3, 3, 3), (24, 1, 3, 3), (24, 24, 1, 1), (24, 24, 1, 1), (24, 24, 1, 1))

_DTYPES: dict[int, str] = {TensorProto.UINT8: "uint8", TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16"}


@dataclass(frozen=True, slots=True)
class GraphTensor:
    """An input or output of the graph; None in ``shape`` is a dynamic dimension."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        """Text for messages."""
        shape = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name} {self.dtype} ({shape})"


@dataclass(frozen=True, slots=True)
class Network:
    """A graph that can be wrapped."""

    model: onnx.ModelProto
    inputs: tuple[GraphTensor, ...]
    outputs: tuple[GraphTensor, ...]
    origins: Mapping[str, Origin]
    """Origin of each output."""
    selects: bool
    """True if the graph may select among candidates (NMS, top-k)."""
    metadata: Mapping[str, str]
    """Metadata written by exporters."""
    files: tuple[Path, ...]
    """Files of the network: the graph, then external weights."""
    opset: int
    """The file's opset, before conversion."""
    before_conversion: bytes | None
    """The original graph if ``model`` was converted from it, otherwise None."""

    @property
    def is_ultralytics(self) -> bool:
        """True if its metadata is that of Ultralytics, of which YOLOv5 wrote only two keys."""
        is_signed = "ultralytics" in self.metadata.get("author", "").lower()
        return is_signed or {"stride", "names"} <= self.metadata.keys() or {"task", "names"} <= self.metadata.keys()


def read_network(path: Path) -> Network:
    """The network in the file; raises StartupError if it is invalid, too large, incomplete or too old."""
    model, files = _load(path)
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # the checker raises various errors
        msg = f"{path}: is no valid ONNX model: {error}"
        raise StartupError(msg) from error
    opset = opset_of(model)
    before = model.SerializeToString() if opset < OLDEST_OPSET else None
    try:
        model = upgraded(model)
    except StartupError as error:
        msg = f"{path}: {error}"
        raise StartupError(msg) from error
    weights = {tensor.name for tensor in model.graph.initializer}
    return Network(
        model=model,
        inputs=tuple(_describe(value) for value in model.graph.input if value.name not in weights),
        outputs=tuple(map(_describe, model.graph.output)),
        origins=MappingProxyType({value.name: origin_of(model, value.name) for value in model.graph.output}),
        selects=selects(model),
        metadata=MappingProxyType({entry.key: entry.value for entry in model.metadata_props}),
        files=files,
        opset=opset,
        before_conversion=before,
    )


def begins_as_emo(model: onnx.ModelProto) -> bool:
    """True if its first convolutions are those of EMO's stem (arXiv 2301.01146, table 2), as exporters write them."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    found = [shapes.get(node.input[1]) for node in model.graph.node if node.op_type == "Conv"]
    return tuple(found[: len(_EMO_STEM)]) == _EMO_STEM


def _load(path: Path) -> tuple[onnx.ModelProto, tuple[Path, ...]]:
    """The graph with all its weights, and the files that hold them."""
    _check_size([path])
    try:
        model = onnx.load(path, load_external_data=False)
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise StartupError(msg) from error
    except Exception as error:  # protobuf's DecodeError is of a package that is not ours to import
        msg = f"{path}: is no ONNX file: {GIT_LFS_ADVICE if is_git_lfs_pointer(path) else error}"
        raise StartupError(msg) from error
    beside = sorted({_location(tensor) for tensor in _tensors(model.graph) if _is_elsewhere(tensor)})
    for name in beside:
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts:
            msg = f"{path}: keeps weights in {name}, outside of its folder, where nothing is read"
            raise StartupError(msg)
        if not (path.parent / name).is_file():
            msg = f"{path}: keeps weights in {name}, which is not there; put both beside each other"
            raise StartupError(msg)
    files = (path, *(path.parent / name for name in beside))
    _check_size(files)
    try:
        external_data_helper.load_external_data_for_model(model, str(path.parent))
    except Exception as error:  # it raises various errors
        msg = f"{path}: the weights in {', '.join(beside)} cannot be read: {error}"
        raise StartupError(msg) from error
    return model, files


def _check_size(files: list[Path] | tuple[Path, ...]) -> None:
    """Raise StartupError unless all are regular files, within the size limit together."""
    for file in files:
        if not file.is_file():
            msg = f"{file}: {'is no regular file' if file.exists() else 'cannot be read: No such file or directory'}"
            raise StartupError(msg)
    size = sum(file.stat().st_size for file in files)
    if size > MAX_BYTES:
        msg = f"{files[0]}: has {size} bytes{' with its weights' * (len(files) > 1)}; allowed are {MAX_BYTES}"
        raise StartupError(msg)


def _is_elsewhere(tensor: TensorProto) -> bool:
    return tensor.data_location == TensorProto.EXTERNAL


def _location(tensor: TensorProto) -> str:
    return external_data_helper.ExternalDataInfo(tensor).location


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
