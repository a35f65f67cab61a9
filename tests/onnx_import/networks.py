"""Networks as other people export them: what they name or find is known to the pixel."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIDE = 32
CELL = 4
CELLS = SIDE // CELL
ANCHORS = CELLS * CELLS
"""One box for each cell of 4 x 4 pixels, in reading order."""

Batch = Literal["open", "one"]
Constants = Mapping[str, NDArray[np.generic]]


def write_network(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    constants: Constants,
    shape: Sequence[str | int | None],
    outputs: Mapping[str, Sequence[str | int | None]],
    dtype: int = TensorProto.FLOAT,
    opset: int = 17,
    types: Mapping[str, int] = MappingProxyType({}),
) -> Path:
    """A file with the input ``x``; outputs are float32 but for those with another of the ``types``."""
    graph = helper.make_graph(
        nodes,
        "somebody's",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [
            helper.make_tensor_value_info(name, types.get(name, TensorProto.FLOAT), dims)
            for name, dims in outputs.items()
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def write_classifier(
    path: Path,
    *,
    channels_first: bool = True,
    softmax: bool = False,
    batch: str | int = "n",
    side: str | int = SIDE,
    classes: int = 3,
    dtype: int = TensorProto.FLOAT,
) -> Path:
    """The strongest colour channel of normalised colours, as logits (N, C) ten times the channels' means."""
    shape = [batch, 3, side, side] if channels_first else [batch, side, side, 3]
    nodes = [
        helper.make_node("Cast", ["x"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["means"], axes=[2, 3] if channels_first else [1, 2], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["logits"]),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["answer"], axis=1))
    name = "answer" if softmax else "logits"
    weights = np.eye(3, classes, dtype=np.float32) * (10 if dtype == TensorProto.FLOAT else np.float32(10 / 255))
    return write_network(path, nodes, {"weights": weights}, shape, {name: [batch, classes]}, dtype)


def _cells() -> tuple[list[onnx.NodeProto], dict[str, NDArray[np.generic]]]:
    """``colours`` (N, A, 3): the mean colour of each cell, of an input ``x`` (N, 3, S, S) in 0..1."""
    nodes = [
        helper.make_node("AveragePool", ["x"], ["means"], kernel_shape=[CELL] * 2, strides=[CELL] * 2),
        helper.make_node("Reshape", ["means", "flat"], ["rows"]),  # (N, 3, A)
        helper.make_node("Transpose", ["rows"], ["colours"], perm=[0, 2, 1]),
        helper.make_node("Mul", ["colours", "nothing"], ["zeros"]),  # (N, A, 3)
        helper.make_node("Slice", ["zeros", "none", "one", "last"], ["zero"]),  # (N, A, 1)
        helper.make_node("Add", ["zero", "table"], ["cells"]),  # (N, A, 4)
    ]
    constants: dict[str, NDArray[np.generic]] = {
        "flat": np.asarray([0, 3, ANCHORS], np.int64),
        "nothing": np.asarray(0, np.float32),
        "none": np.asarray([0], np.int64),
        "one": np.asarray([1], np.int64),
        "last": np.asarray([2], np.int64),
    }
    return nodes, constants


def cell_boxes() -> NDArray[np.float32]:
    """All cells (A, 4), xyxy in pixels."""
    top, left = np.divmod(np.arange(ANCHORS), CELLS)
    return (np.stack([left, top, left + 1, top + 1], axis=1) * CELL).astype(np.float32)


def _centred(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    low, high = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=1)


def write_ssd(path: Path, *, batch: str | int = "n", background: bool = False) -> Path:
    """Scores, then boxes: cxcywh as fractions. With a ``background``, the first, scores are logits for a softmax."""
    nodes, constants = _cells()
    constants["table"] = _centred(cell_boxes())[None] / np.float32(SIDE)
    if background:
        constants["threshold"] = np.full(1, 6, np.float32)
        constants["sharp"] = np.asarray(12, np.float32)
        nodes += [
            helper.make_node("Add", ["zero", "threshold"], ["empty"]),
            helper.make_node("Mul", ["colours", "sharp"], ["full"]),
            helper.make_node("Concat", ["empty", "full"], ["confidences"], axis=2),
        ]
    else:
        nodes.append(helper.make_node("Identity", ["colours"], ["confidences"]))
    nodes.append(helper.make_node("Identity", ["cells"], ["where"]))
    outputs = {"confidences": [batch, ANCHORS, 3 + background], "where": [batch, ANCHORS, 4]}
    return write_network(path, nodes, constants, [batch, 3, SIDE, SIDE], outputs)


def write_yolo(path: Path, *, objectness: bool, batch: str | int = "n") -> Path:
    """(N, 4 + 3, A), or (N, A, 5 + 3) with an objectness that is 0 in the upper half: cxcywh in pixels."""
    nodes, constants = _cells()
    constants["table"] = _centred(cell_boxes())[None]
    if objectness:
        lower = (np.arange(ANCHORS) >= ANCHORS // 2).astype(np.float32)
        constants["lower"] = lower[None, :, None]
        nodes += [
            helper.make_node("Add", ["zero", "lower"], ["objectness"]),
            helper.make_node("Concat", ["cells", "objectness", "colours"], ["output0"], axis=2),
        ]
        return write_network(path, nodes, constants, [batch, 3, SIDE, SIDE], {"output0": [batch, ANCHORS, 8]})
    nodes += [
        helper.make_node("Concat", ["cells", "colours"], ["rowwise"], axis=2),
        helper.make_node("Transpose", ["rowwise"], ["output0"], perm=[0, 2, 1]),
    ]
    return write_network(path, nodes, constants, [batch, 3, SIDE, SIDE], {"output0": [batch, 7, ANCHORS]})
