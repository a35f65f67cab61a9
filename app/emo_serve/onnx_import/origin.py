"""Origin of a graph's outputs by its operators, if the values for some pictures leave it open."""

from collections.abc import Iterator
from typing import Literal

import onnx

Origin = Literal["softmax", "sigmoid", "rescaled", "unbounded"] | None
"""The kind of operator that an output comes straight from: probabilities, also with constants applied to them; a layer
with unbounded values; None if that cannot be seen."""

_BOUNDED: dict[str, Origin] = {"Softmax": "softmax", "Sigmoid": "sigmoid", "HardSigmoid": "sigmoid"}
_UNBOUNDED = frozenset(
    {"Gemm", "MatMul", "Conv", "ConvTranspose", "BatchNormalization", "LogSoftmax", "Relu", "LeakyRelu", "PRelu", "Elu"}
)
_KEEPING = frozenset(
    {"Identity", "Cast", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Dropout"}
    | {"AveragePool", "GlobalAveragePool", "ReduceMean"}
)
"""Operators that leave values as they are, or take some or means of them: within bounds they stay there."""
_MOVING = frozenset({"Add", "Sub", "Mul", "Div"})
"""With a constant: out of bounds, but not back."""
_BOUNDING = frozenset({"Clip", "Round", "Floor", "Ceil", "Min", "Max"})
"""With constants: what they do to probabilities, as to percents, leaves nothing to see; other values may get bounds."""
_SELECTING = frozenset({"NonMaxSuppression", "TopK", "ArgMax", "NonZero"})


def origin_of(model: onnx.ModelProto, output: str) -> Origin:
    """The origin of this output's values, by the operators that lead to it."""
    producers = {name: node for node in model.graph.node for name in node.output}
    constants = {tensor.name for tensor in model.graph.initializer}
    constants |= {name for name, node in producers.items() if node.op_type == "Constant"}
    is_moved = is_bounded = False
    node = producers.get(output)
    while node is not None:
        if node.op_type in _UNBOUNDED:
            return None if is_bounded else "unbounded"
        if node.op_type in _BOUNDED:
            return "rescaled" if is_moved else _BOUNDED[node.op_type]
        from_others = [name for name in node.input if name not in constants]
        is_bounded |= node.op_type in _BOUNDING
        is_moved |= node.op_type in _MOVING
        is_lone = node.op_type in _MOVING | _BOUNDING and len(from_others) == 1
        if not from_others or not (node.op_type in _KEEPING or is_lone):
            return None
        node = producers.get(from_others[0])
    return None


def selects(model: onnx.ModelProto) -> bool:
    """True if any operator, also of an inner graph, may select among candidates, as non-maximum suppression does."""
    return any(node.op_type in _SELECTING or node.domain not in {"", "ai.onnx"} for node in _nodes(model.graph))


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)
