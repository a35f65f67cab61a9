"""A network and a plan -> the graph that is served: uint8 (N, H, W, 3) in, the manifest's outputs out.

The network itself is not changed, only given new first and last nodes; its names get a prefix. One that takes a single
image becomes the body of a ``Scan`` over the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper, numpy_helper

from app.add.plan import ClassifierEnd, Columns, DetectorEnd, End, Front

INPUT = "images"
_NETWORK = "network/"


def probe_graph(model: onnx.ModelProto, front: Front) -> onnx.ModelProto:
    """The network behind its front, with its own outputs, ``network/`` before their names, to see what they are."""
    model = compose.add_prefix(model, _NETWORK)
    nodes = _Nodes()
    _run_network(nodes, model, front, INPUT)
    return _model(model, nodes, front, list(model.graph.output))


def output_name(name: str) -> str:
    """What an output of the network is called in a ``probe_graph``."""
    return _NETWORK + name


def served_graph(model: onnx.ModelProto, front: Front, end: End) -> onnx.ModelProto:
    """The whole graph, checked; outputs ``scores``, or ``boxes`` and ``scores``, float32."""
    model = compose.add_prefix(model, _NETWORK)
    nodes = _Nodes()
    shapes = _shapes(end)
    if front.one_by_one:
        pixels = _in_turn(nodes, model, front, end)
    else:
        _run_network(nodes, model, front, INPUT)
        pixels = _answers(nodes, front, end)
    for name, found in zip(shapes, pixels, strict=True):
        nodes.named("Identity", [found], name)
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape]) for name, shape in shapes.items()
    ]
    served = _model(model, nodes, front, outputs)
    onnx.checker.check_model(served)
    return served


@dataclass(slots=True)
class _Nodes:
    """The nodes and constants of a graph under construction."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)

    def op(self, kind: str, inputs: Sequence[str], **attributes: int | list[int]) -> str:
        """Add a node with one output; give its name."""
        return self.named(kind, inputs, f"serving/{len(self.nodes)}", **attributes)

    def named(self, kind: str, inputs: Sequence[str], output: str, **attributes: int | list[int]) -> str:
        """Add a node whose output has this name."""
        node = helper.make_node(kind, inputs, [output])
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)
        return output

    def constant(self, value: NDArray[np.generic]) -> str:
        """Add a constant; give its name."""
        name = f"serving/constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def floats(self, *values: float) -> str:
        """Add a constant float32 (len,)."""
        return self.constant(np.asarray(values, np.float32))

    def numbers(self, *values: int) -> str:
        """Add a constant int64 (len,)."""
        return self.constant(np.asarray(values, np.int64))

    def columns(self, table: str, first: int, last: int) -> str:
        """Cut columns out of the last axis."""
        return self.op("Slice", [table, self.numbers(first), self.numbers(last), self.numbers(-1)])


def _model(model: onnx.ModelProto, nodes: _Nodes, front: Front, outputs: list[onnx.ValueInfoProto]) -> onnx.ModelProto:
    shape: list[str | int | None] = ["batch", front.rule.height, front.rule.width, 3]
    inputs = [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, shape)]
    graph = helper.make_graph(nodes.nodes, "served", inputs, outputs, nodes.constants)
    return helper.make_model(
        graph,
        opset_imports=model.opset_import,
        functions=model.functions,
        ir_version=max(model.ir_version, 4),  # from 4 on, weights need not be inputs
        producer_name="emo-serve add",
    )


def _run_network(nodes: _Nodes, model: onnx.ModelProto, front: Front, images: str) -> None:
    """Add the front and the network, for ``images`` uint8 (N, H, W, 3)."""
    rule = front.rule
    if front.dtype != "uint8":
        images = nodes.op("Cast", [images], to=TensorProto.FLOAT)
        if any(rule.mean):
            images = nodes.op("Sub", [images, nodes.floats(*rule.mean)])
        images = nodes.op("Div", [images, nodes.floats(*rule.std)])
    if front.bgr:
        images = nodes.op("Gather", [images, nodes.numbers(2, 1, 0)], axis=3)
    if front.channels_first:
        images = nodes.op("Transpose", [images], perm=[0, 3, 1, 2])
    if front.dtype == "float16":
        images = nodes.op("Cast", [images], to=TensorProto.FLOAT16)
    nodes.named("Identity", [images], _NETWORK + front.name)
    nodes.nodes.extend(model.graph.node)
    nodes.constants.extend(model.graph.initializer)


def _in_turn(nodes: _Nodes, model: onnx.ModelProto, front: Front, end: End) -> list[str]:
    """Add a Scan that takes the batch image by image; give its outputs (N, ...)."""
    body = _Nodes()
    first = body.constant(np.asarray([0], np.int64))
    _run_network(body, model, front, body.op("Unsqueeze", ["image", first]))
    shapes = _shapes(end)
    for name, found in zip(shapes, _answers(body, front, end), strict=True):
        body.named("Squeeze", [found, first], f"image/{name}")
    graph = helper.make_graph(
        body.nodes,
        "image",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [front.rule.height, front.rule.width, 3])],
        [helper.make_tensor_value_info(f"image/{name}", TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        body.constants,
    )
    outputs = [f"all/{name}" for name in shapes]
    nodes.nodes.append(helper.make_node("Scan", [INPUT], outputs, body=graph, num_scan_inputs=1))
    return outputs


def _shapes(end: End) -> dict[str, list[int]]:
    """The manifest's outputs, without the batch."""
    if isinstance(end, ClassifierEnd):
        return {"scores": [end.num_classes]}
    return {"boxes": [end.anchors, 4], "scores": [end.anchors, end.num_classes]}


def _answers(nodes: _Nodes, front: Front, end: End) -> list[str]:
    """Add the end; give the names of the manifest's outputs, in its order."""
    if isinstance(end, ClassifierEnd):
        scores = nodes.op("Cast", [_NETWORK + end.output], to=TensorProto.FLOAT)
        scores = nodes.op("Reshape", [scores, nodes.numbers(-1, end.num_classes)])
        return [nodes.op("Softmax", [scores], axis=-1) if end.softmax else scores]
    return [_boxes(nodes, front, end), _scores(nodes, end)]


def _boxes(nodes: _Nodes, front: Front, end: DetectorEnd) -> str:
    boxes = _table(nodes, end.boxes)
    if end.centred:
        centres = nodes.columns(boxes, 0, 2)
        halves = nodes.op("Mul", [nodes.columns(boxes, 2, 4), nodes.floats(0.5)])
        corners = [nodes.op("Sub", [centres, halves]), nodes.op("Add", [centres, halves])]
        boxes = nodes.op("Concat", corners, axis=-1)
    sides = [float(front.rule.width), float(front.rule.height)] * 2
    if end.normalised:
        boxes = nodes.op("Mul", [boxes, nodes.floats(*sides)])
    return nodes.op("Max", [nodes.op("Min", [boxes, nodes.floats(*sides)]), nodes.floats(0.0)])


def _scores(nodes: _Nodes, end: DetectorEnd) -> str:
    scores = _activated(nodes, _table(nodes, end.scores), end)
    if end.objectness is not None:
        scores = nodes.op("Mul", [scores, _activated(nodes, _table(nodes, end.objectness), end)])
    if end.background == "none":
        return scores
    first = int(end.background == "first")
    return nodes.columns(scores, first, first + end.num_classes)


def _activated(nodes: _Nodes, values: str, end: DetectorEnd) -> str:
    if end.activation == "softmax":
        return nodes.op("Softmax", [values], axis=-1)
    return nodes.op("Sigmoid", [values]) if end.activation == "sigmoid" else values


def _table(nodes: _Nodes, columns: Columns) -> str:
    """The columns, (N, A, F) float32."""
    table = nodes.op("Cast", [_NETWORK + columns.output], to=TensorProto.FLOAT)
    if columns.transposed:
        table = nodes.op("Transpose", [table], perm=[0, 2, 1])
    return nodes.columns(table, columns.first, columns.last)
