"""A small SSD with non-maximum suppression inside, exported in every form in use."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper

from tests.onnx_import.networks import write_network

SIDE = 64
CELL = 8
CELLS = SIDE // CELL
ANCHORS = 2 * CELLS * CELLS
CLASSES = 3
THRESHOLD = 0.4
"""Of scores: what the network gives is above it."""
OVERLAP = 0.6
"""Of boxes of one class: more than the server's own default, so that it would show if the server suppressed as well."""
ROWS = 40
"""Of the forms with lists of a fixed length."""

Form = Literal[
    "torchvision", "tensorflow", "table", "padded table", "numbered table", "flat table", "scored boxes", "open"
]

_rng = np.random.default_rng(1)
BIAS = np.tile(np.array([0, 0, 0, 0, -2, -2, -2], np.float32), 2)
KERNELS = _rng.normal(0, 1, (14, 3, CELL, CELL)).astype(np.float32)
KERNELS -= KERNELS.mean(axis=(1, 2, 3), keepdims=True)  # plain colours are nothing to it
KERNELS *= np.tile(np.array([0.05] * 4 + [0.3] * 3, np.float32), 2).reshape(14, 1, 1, 1)


def anchors() -> NDArray[np.float32]:
    """Two a cell, (A, 4) xyxy: a square and a wide one."""
    row, column = np.divmod(np.arange(CELLS * CELLS), CELLS)
    centres = np.stack([column, row, column, row], axis=1) * CELL + CELL / 2
    halves = np.array([[-8, -8, 8, 8], [-12, -6, 12, 6]])
    boxes: NDArray[np.float32] = (centres[:, None] + halves).reshape(-1, 4).astype(np.float32)
    return boxes


def write_suppressing(path: Path, form: Form, *, lone: bool = False) -> Path:
    """The network in this form; its input ``x`` is in 0..1."""
    nodes, constants = _body(lone=lone)
    nodes += _top(constants) if form == "open" else _suppression(constants)
    batch: str | int = "n" if form == "open" else 1
    shape: list[str | int | None] = [3, SIDE, SIDE] if lone else [batch, 3, SIDE, SIDE]
    outputs: dict[str, Sequence[str | int | None]]
    types: dict[str, int] = {}
    match form:
        case "torchvision":  # whose exporter gives names like these
            nodes += [_node("Identity", ["kept", "2216"]), _node("Identity", ["strengths", "2185"])]
            nodes += [_node("Add", ["kinds", "one", "2186"])]
            outputs = {"2216": ["m", 4], "2185": ["m"], "2186": ["m"]}
            types = {"2186": TensorProto.INT64}
        case "tensorflow":  # y first, in fractions; what is beyond the count is not to be believed
            nodes += _tensorflow(constants)
            outputs = {
                "detection_boxes": [1, ROWS, 4],
                "detection_classes": [1, ROWS],
                "detection_scores": [1, ROWS],
                "num_detections": [1],
            }
        case "scored boxes":
            nodes += [
                _node("Unsqueeze", ["strengths", "last", "strength"]),
                _node("Concat", ["kept", "strength", "scored"], axis=1),
                _node("Unsqueeze", ["scored", "first", "dets"]),
                _node("Unsqueeze", ["kinds", "first", "labels"]),
            ]
            outputs, types = {"dets": [1, "m", 5], "labels": [1, "m"]}, {"labels": TensorProto.INT64}
        case "numbered table" | "flat table":  # of YOLOv7 and of YOLO-NAS
            columns = ("kind", "strength") if form == "numbered table" else ("strength", "kind")
            nodes += _columns("box", *columns, number=True)
            nodes += [_node("Identity", ["rows", "output"])]
            outputs = {"output": ["m", 7]}
        case "table" | "padded table":
            nodes += [*_columns("box", "strength", "kind"), _node("Unsqueeze", ["rows", "first", "batched"])]
            nodes += (
                _padded("batched", "output0") if form == "padded table" else [_node("Identity", ["batched", "output0"])]
            )
            outputs = {"output0": [1, ROWS if form == "padded table" else "m", 6]}
        case "open":
            outputs = {"output0": [batch, ROWS, 6]}
    return write_network(path, nodes, constants, shape, outputs, types=types)


def _node(kind: str, names: Sequence[str], **attributes: int | list[int]) -> NodeProto:
    """A node with one output, the last of the names."""
    node = helper.make_node(kind, names[:-1], names[-1:])
    node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
    return node


def _body(*, lone: bool) -> tuple[list[NodeProto], dict[str, NDArray[np.generic]]]:
    """``boxes`` (N, A, 4) in pixels and ``scores`` (N, A, C)."""
    nodes = [
        _node("Unsqueeze", ["x", "first", "images"]) if lone else _node("Identity", ["x", "images"]),
        _node("Conv", ["images", "kernels", "bias", "features"], strides=[CELL, CELL]),  # (N, 14, 8, 8)
        _node("Transpose", ["features", "cells"], perm=[0, 2, 3, 1]),
        _node("Reshape", ["cells", "by anchor", "predictions"]),  # (N, A, 7)
        _node("Slice", ["predictions", "first", "fourth", "last", "offsets"]),
        _node("Slice", ["predictions", "fourth", "end", "last", "logits"]),
        _node("Mul", ["offsets", "reach", "moves"]),
        _node("Add", ["moves", "anchors", "boxes"]),
        _node("Sigmoid", ["logits", "scores"]),
    ]
    constants: dict[str, NDArray[np.generic]] = {
        "kernels": KERNELS,
        "bias": BIAS,
        "anchors": anchors()[None],
        "by anchor": np.array([0, ANCHORS, 7]),
        "reach": np.array([3], np.float32),
        "first": np.array([0]),
        "one": np.array([1]),
        "fourth": np.array([4]),
        "end": np.array([7]),
        "last": np.array([-1]),
    }
    return nodes, constants


def _suppression(constants: dict[str, NDArray[np.generic]]) -> list[NodeProto]:
    """``kept`` (M, 4), ``strengths`` (M,) and ``kinds`` (M,) int64, of one picture, best first."""
    constants |= {
        "most": np.array([ROWS]),
        "overlap": np.array([OVERLAP], np.float32),
        "threshold": np.array([THRESHOLD], np.float32),
        "kind column": np.array([1]),
        "anchor column": np.array([2]),
    }
    return [
        _node("Transpose", ["scores", "by class"], perm=[0, 2, 1]),
        _node("NonMaxSuppression", ["boxes", "by class", "most", "overlap", "threshold", "selected"]),  # (M, 3)
        _node("GatherND", ["by class", "selected", "unsorted"]),
        _node("Shape", ["unsorted", "found"]),
        helper.make_node("TopK", ["unsorted", "found"], ["strengths", "order"], axis=0),
        _node("Gather", ["selected", "order", "sorted"], axis=0),
        _node("Gather", ["sorted", "kind column", "kind"], axis=1),
        _node("Squeeze", ["kind", "one", "kinds"]),
        _node("Gather", ["sorted", "anchor column", "anchor"], axis=1),
        _node("Squeeze", ["boxes", "first", "all boxes"]),
        _node("GatherND", ["all boxes", "anchor", "kept"]),
    ]


def _columns(*columns: str, number: bool = False) -> list[NodeProto]:
    """``rows`` (M, 6) float32 with these columns; or (M, 7), the number of the picture before them."""
    renamed = {"box": "kept", "strength": "strength row", "kind": "kind row"}
    names = [renamed[column] for column in columns]
    nodes = [
        _node("Unsqueeze", ["strengths", "one", "strength row"]),
        _node("Cast", ["kind", "kind row"], to=TensorProto.FLOAT),
    ]
    if number:
        nodes += [_node("Sub", ["strength row", "strength row", "numbers"])]
        names = ["numbers", *names]
    return [*nodes, _node("Concat", [*names, "rows"], axis=1)]


def _padded(rows: str, output: str) -> list[NodeProto]:
    """(1, M, F) -> (1, 40, F), with zeros."""
    text = f"{output} "
    return [
        _node("Shape", [rows, text + "shape"]),
        _node("Gather", [text + "shape", "one", text + "length"], axis=0),
        _node("Sub", ["most", text + "length", text + "lack"]),
        _node("Concat", ["first", "first", "first", "first", text + "lack", "first", text + "pads"], axis=0),
        _node("Pad", [rows, text + "pads", output]),
    ]


def _tensorflow(constants: dict[str, NDArray[np.generic]]) -> list[NodeProto]:
    constants |= {
        "y first": np.array([1, 0, 3, 2]),
        "side": np.array([SIDE], np.float32),
        "unit": np.array([1], np.float32),
        "places": np.arange(ROWS)[None],
        "line": np.array([1, ROWS]),
        "strength place": np.array([4]),
        "kind place": np.array([5]),
        "wrong": np.array([0.9], np.float32),
    }
    return [
        *_columns("box", "strength", "kind"),
        _node("Unsqueeze", ["rows", "first", "batched"]),
        *_padded("batched", "table"),
        _node("Slice", ["table", "first", "fourth", "last", "corners"]),
        _node("Gather", ["corners", "y first", "turned"], axis=2),
        _node("Div", ["turned", "side", "detection_boxes"]),
        _node("Min", ["found", "most", "counted"]),
        _node("Cast", ["counted", "num_detections"], to=TensorProto.FLOAT),
        _node("Less", ["places", "found", "counts"]),
        _node("Gather", ["table", "strength place", "strength line"], axis=2),
        _node("Reshape", ["strength line", "line", "right"]),
        _node("Where", ["counts", "right", "wrong", "detection_scores"]),
        _node("Gather", ["table", "kind place", "kind line"], axis=2),
        _node("Reshape", ["kind line", "line", "from zero"]),
        _node("Add", ["from zero", "unit", "detection_classes"]),
    ]


def _top(constants: dict[str, NDArray[np.generic]]) -> list[NodeProto]:
    """``output0`` (N, 40, 6): the best scores of all, as networks have it that need no suppression."""
    constants |= {
        "flat": np.array([0, ANCHORS * CLASSES]),
        "rows": np.array([ROWS]),
        "classes": np.array([CLASSES]),
    }
    return [
        _node("Reshape", ["scores", "flat", "all scores"]),
        helper.make_node("TopK", ["all scores", "rows"], ["strengths", "places"], axis=1),
        _node("Div", ["places", "classes", "anchor"]),
        _node("Mod", ["places", "classes", "kinds"]),
        _node("Unsqueeze", ["anchor", "last", "which"]),
        _node("GatherND", ["boxes", "which", "kept"], batch_dims=1),
        _node("Unsqueeze", ["strengths", "last", "strength"]),
        _node("Cast", ["kinds", "numbers"], to=TensorProto.FLOAT),
        _node("Unsqueeze", ["numbers", "last", "kind"]),
        _node("Concat", ["kept", "strength", "kind", "output0"], axis=2),
    ]
