"""The network's outputs -> the manifest's outputs, as nodes of the served graph."""

import numpy as np
from numpy.typing import NDArray

from emo_serve.manifest import Preprocessing
from emo_serve.onnx_import.model_spec import Activation, BoxFormat, ClassifierHead, Columns, DetectorHead, Head, NmsHead
from emo_serve.onnx_import.nodes import NETWORK, Nodes
from emo_serve.onnx_import.yolox import cells_of


def shapes(head: Head) -> dict[str, list[int]]:
    """The manifest's outputs, without the batch axis."""
    if isinstance(head, ClassifierHead):
        return {"scores": [head.num_classes]}
    return {"boxes": [head.anchors, 4], "scores": [head.anchors, head.num_classes]}


def add_outputs(nodes: Nodes, rule: Preprocessing, head: Head) -> list[str]:
    """Add the head's conversion; returns the names of the manifest's outputs, in its order."""
    match head:
        case ClassifierHead():
            scores = nodes.cast(NETWORK + head.output, "float32")
            wide = 1 if head.is_pair else head.scores
            scores = nodes.op("Reshape", [scores, nodes.numbers(-1, wide)])
            scores = _activated(nodes, scores, head.activation)
            if head.is_pair:
                scores = nodes.op("Concat", [nodes.op("Sub", [nodes.floats(1.0), scores]), scores], axis=-1)
            return [_select_classes(nodes, scores, head.served)]
        case DetectorHead():
            boxes = _table(nodes, head.boxes)
            if head.strides:
                boxes = _from_grids(nodes, boxes, cells_of(head.strides, rule))
            return [_in_pixels(nodes, boxes, head.box_format, rule), _scores(nodes, head)]
        case NmsHead():
            return _nms_rows(nodes, rule, head)


def _from_grids(nodes: Nodes, boxes: str, cells: NDArray[np.float32]) -> str:
    """Offsets within ``cells`` (A, 3) and logarithms of sizes, both in cells, (N, A, 4) -> cxcywh in pixels."""
    strides = nodes.constant(cells[:, 2:])
    centres = nodes.op("Add", [nodes.columns(boxes, 0, 2), nodes.constant(cells[:, :2])])
    sizes = nodes.op("Exp", [nodes.columns(boxes, 2, 4)])
    return nodes.op("Mul", [nodes.op("Concat", [centres, sizes], axis=-1), strides])


def _in_pixels(nodes: Nodes, boxes: str, box_format: BoxFormat, rule: Preprocessing) -> str:
    """Boxes (N, A, 4) as xyxy in pixels of the input, clipped to it."""
    if box_format.order == "cxcywh":
        centres = nodes.columns(boxes, 0, 2)
        halves = nodes.op("Mul", [nodes.columns(boxes, 2, 4), nodes.floats(0.5)])
        corners = [nodes.op("Sub", [centres, halves]), nodes.op("Add", [centres, halves])]
        boxes = nodes.op("Concat", corners, axis=-1)
    if box_format.order == "xywh":
        corner = nodes.columns(boxes, 0, 2)
        opposite = nodes.op("Add", [corner, nodes.columns(boxes, 2, 4)])
        boxes = nodes.op("Concat", [corner, opposite], axis=-1)
    if box_format.order == "yxyx":
        boxes = nodes.op("Gather", [boxes, nodes.numbers(1, 0, 3, 2)], axis=-1)
    sides = [float(rule.width), float(rule.height)] * 2
    if box_format.normalised:
        boxes = nodes.op("Mul", [boxes, nodes.floats(*sides)])
    return nodes.op("Max", [nodes.op("Min", [boxes, nodes.floats(*sides)]), nodes.floats(0.0)])


def _scores(nodes: Nodes, head: DetectorHead) -> str:
    scores = _activated(nodes, _table(nodes, head.scores), head.activation)
    if head.objectness is not None:
        kind: Activation = "sigmoid" if head.activation else None
        scores = nodes.op("Mul", [scores, _activated(nodes, _table(nodes, head.objectness), kind)])
    if head.background != "none":
        first = int(head.background == "first")
        scores = nodes.columns(scores, first, first + head.scores.last - head.scores.first - 1)
    return _select_classes(nodes, scores, head.served)


def _activated(nodes: Nodes, values: str, activation: Activation) -> str:
    """Scores clipped or mapped to [0, 1]."""
    match activation:
        case "softmax":
            return nodes.op("Softmax", [values], axis=-1)
        case "sigmoid":
            return nodes.op("Sigmoid", [values])
        case "percent":
            values = nodes.op("Mul", [values, nodes.floats(0.01)])
    return _limited(nodes, values)


def _limited(nodes: Nodes, values: str) -> str:
    return nodes.op("Max", [nodes.op("Min", [values, nodes.floats(1.0)]), nodes.floats(0.0)])


def _select_classes(nodes: Nodes, scores: str, places: tuple[int, ...] | None) -> str:
    return scores if places is None else nodes.op("Gather", [scores, nodes.numbers(*places)], axis=-1)


def _table(nodes: Nodes, columns: Columns) -> str:
    """The columns, (N, A, F) float32."""
    table = nodes.cast(NETWORK + columns.output, "float32")
    if columns.transposed:
        table = nodes.op("Transpose", [table], perm=[0, 2, 1])
    if columns.missing:
        table = nodes.op("Unsqueeze", [table, nodes.numbers(*columns.missing)])
    return nodes.columns(table, columns.first, columns.last)


def _nms_rows(nodes: Nodes, rule: Preprocessing, head: NmsHead) -> list[str]:
    """The best rows of the lists, always the same number."""
    scores = _limited(nodes, _table(nodes, head.nms.scores))  # (N, M, 1)
    if head.nms.count is not None:
        scores = nodes.op("Mul", [scores, _counted(nodes, scores, head.nms.count)])
    # Padded with enough rows of zeros, even if nothing was detected.
    rows = nodes.numbers(0, 0, 0, 0, head.anchors, 0)
    scores, boxes, classes = (
        nodes.op("Pad", [values, rows])
        for values in (scores, _table(nodes, head.nms.boxes), _table(nodes, head.nms.classes))
    )
    best, places = f"{scores}/best", f"{scores}/places"
    nodes.several("TopK", [scores, nodes.numbers(head.anchors)], [best, places], axis=1)  # (N, A, 1) both
    boxes = nodes.op("GatherND", [boxes, places], batch_dims=1)  # (N, A, 4)
    classes = nodes.op("GatherND", [classes, places], batch_dims=1)  # (N, A, 1)
    known = nodes.floats(*head.classes)  # (C,)
    is_class = nodes.cast(nodes.op("Equal", [classes, known]), "float32")  # (N, A, C)
    return [_in_pixels(nodes, boxes, head.box_format, rule), nodes.op("Mul", [best, is_class])]


def _counted(nodes: Nodes, scores: str, count: str) -> str:
    """1 for the rows within the count and 0 for the rest, (N, M, 1)."""
    rows = nodes.op("Gather", [nodes.op("Shape", [scores]), nodes.number(1)])  # M
    places = nodes.op("Range", [nodes.number(0), rows, nodes.number(1)])  # (M,)
    counts = nodes.op("Reshape", [nodes.cast(NETWORK + count, "int64"), nodes.numbers(-1, 1)])  # (N, 1)
    is_object = nodes.cast(nodes.op("Less", [places, counts]), "float32")  # (N, M)
    return nodes.op("Unsqueeze", [is_object, nodes.numbers(2)])
