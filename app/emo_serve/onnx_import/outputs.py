"""What the network answers -> the manifest's outputs, as nodes of the graph that is served."""

import numpy as np
from numpy.typing import NDArray

from emo_serve.manifest import Preprocessing
from emo_serve.onnx_import.model_spec import Activation, BoxFormat, ClassifierEnd, Columns, DetectorEnd, End, ListsEnd
from emo_serve.onnx_import.nodes import NETWORK, Nodes
from emo_serve.onnx_import.yolox import cells_of


def shapes(end: End) -> dict[str, list[int]]:
    """The manifest's outputs, without the batch."""
    if isinstance(end, ClassifierEnd):
        return {"scores": [end.num_classes]}
    return {"boxes": [end.anchors, 4], "scores": [end.anchors, end.num_classes]}


def add_outputs(nodes: Nodes, rule: Preprocessing, end: End) -> list[str]:
    """Add the end; give the names of the manifest's outputs, in its order."""
    match end:
        case ClassifierEnd():
            scores = nodes.cast(NETWORK + end.output, "float32")
            wide = 1 if end.is_pair else end.scores
            scores = nodes.op("Reshape", [scores, nodes.numbers(-1, wide)])
            scores = _activated(nodes, scores, end.activation)
            if end.is_pair:
                scores = nodes.op("Concat", [nodes.op("Sub", [nodes.floats(1.0), scores]), scores], axis=-1)
            return [_kept(nodes, scores, end.kept)]
        case DetectorEnd():
            boxes = _table(nodes, end.boxes)
            if end.strides:
                boxes = _from_grids(nodes, boxes, cells_of(end.strides, rule))
            return [_in_pixels(nodes, boxes, end.box_format, rule), _scores(nodes, end)]
        case ListsEnd():
            return _lists(nodes, rule, end)


def _from_grids(nodes: Nodes, boxes: str, cells: NDArray[np.float32]) -> str:
    """Offsets within ``cells`` (A, 3) and logarithms of sizes, both in cells, (N, A, 4) -> cxcywh in pixels."""
    strides = nodes.constant(cells[:, 2:])
    centres = nodes.op("Add", [nodes.columns(boxes, 0, 2), nodes.constant(cells[:, :2])])
    sizes = nodes.op("Exp", [nodes.columns(boxes, 2, 4)])
    return nodes.op("Mul", [nodes.op("Concat", [centres, sizes], axis=-1), strides])


def _in_pixels(nodes: Nodes, boxes: str, box_format: BoxFormat, rule: Preprocessing) -> str:
    """Boxes (N, A, 4) as xyxy in pixels of the input, within it."""
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


def _scores(nodes: Nodes, end: DetectorEnd) -> str:
    scores = _activated(nodes, _table(nodes, end.scores), end.activation)
    if end.objectness is not None:
        kind: Activation = "sigmoid" if end.activation else None
        scores = nodes.op("Mul", [scores, _activated(nodes, _table(nodes, end.objectness), kind)])
    if end.background != "none":
        first = int(end.background == "first")
        scores = nodes.columns(scores, first, first + end.scores.last - end.scores.first - 1)
    return _kept(nodes, scores, end.kept)


def _activated(nodes: Nodes, values: str, activation: Activation) -> str:
    """Scores in [0, 1], whatever the picture."""
    match activation:
        case "softmax":
            return nodes.op("Softmax", [values], axis=-1)
        case "sigmoid":
            return nodes.op("Sigmoid", [values])
    return _limited(nodes, values)


def _limited(nodes: Nodes, values: str) -> str:
    return nodes.op("Max", [nodes.op("Min", [values, nodes.floats(1.0)]), nodes.floats(0.0)])


def _kept(nodes: Nodes, scores: str, places: tuple[int, ...] | None) -> str:
    return scores if places is None else nodes.op("Gather", [scores, nodes.numbers(*places)], axis=-1)


def _table(nodes: Nodes, columns: Columns) -> str:
    """The columns, (N, A, F) float32."""
    table = nodes.cast(NETWORK + columns.output, "float32")
    if columns.transposed:
        table = nodes.op("Transpose", [table], perm=[0, 2, 1])
    if columns.missing:
        table = nodes.op("Unsqueeze", [table, nodes.numbers(*columns.missing)])
    return nodes.columns(table, columns.first, columns.last)


def _lists(nodes: Nodes, rule: Preprocessing, end: ListsEnd) -> list[str]:
    """The best rows of the lists, always as many, whatever the picture."""
    scores = _limited(nodes, _table(nodes, end.lists.scores))  # (N, M, 1)
    if end.lists.count is not None:
        scores = nodes.op("Mul", [scores, _counted(nodes, scores, end.lists.count)])
    # So many rows of zeros at the end that there are enough of them, even where nothing was found.
    rows = nodes.numbers(0, 0, 0, 0, end.anchors, 0)
    scores, boxes, classes = (
        nodes.op("Pad", [values, rows])
        for values in (scores, _table(nodes, end.lists.boxes), _table(nodes, end.lists.classes))
    )
    best, places = f"{scores}/best", f"{scores}/places"
    nodes.several("TopK", [scores, nodes.numbers(end.anchors)], [best, places], axis=1)  # (N, A, 1) both
    boxes = nodes.op("GatherND", [boxes, places], batch_dims=1)  # (N, A, 4)
    classes = nodes.op("GatherND", [classes, places], batch_dims=1)  # (N, A, 1)
    known = nodes.floats(*end.classes)  # (C,)
    is_class = nodes.cast(nodes.op("Equal", [classes, known]), "float32")  # (N, A, C)
    return [_in_pixels(nodes, boxes, end.box_format, rule), nodes.op("Mul", [best, is_class])]


def _counted(nodes: Nodes, scores: str, count: str) -> str:
    """1 for the rows that count and 0 for what follows them, (N, M, 1)."""
    rows = nodes.op("Gather", [nodes.op("Shape", [scores]), nodes.number(1)])  # M
    places = nodes.op("Range", [nodes.number(0), rows, nodes.number(1)])  # (M,)
    counts = nodes.op("Reshape", [nodes.cast(NETWORK + count, "int64"), nodes.numbers(-1, 1)])  # (N, 1)
    is_object = nodes.cast(nodes.op("Less", [places, counts]), "float32")  # (N, M)
    return nodes.op("Unsqueeze", [is_object, nodes.numbers(2)])
