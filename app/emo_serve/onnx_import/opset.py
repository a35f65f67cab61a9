"""Conversion of graphs in old opsets, by ``onnx``'s own converter."""

import numpy as np
import onnx
from onnx import helper, numpy_helper, version_converter

from emo_serve.errors import StartupError

OLDEST_OPSET = 13
"""The first opset in which all operators that ``graph_builder`` uses have their present form."""


def opset_of(model: onnx.ModelProto) -> int:
    """The opset of the standard operators."""
    return next((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), OLDEST_OPSET)


def upgraded(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network converted to opset 13 or newer; raises StartupError if that fails.

    The caller has to check that its answers are unchanged: the converter does not handle all semantics of old
    operators.
    """
    opset = opset_of(model)
    if opset >= OLDEST_OPSET:
        return model
    try:
        converted = version_converter.convert_version(model, OLDEST_OPSET)
    except Exception as error:  # the converter raises various errors
        msg = f"is of opset {opset} and cannot be converted to {OLDEST_OPSET} ({error}); export it with that or newer"
        raise StartupError(msg) from error
    if opset <= 10:
        _keep_corners(converted)
    return converted


def _keep_corners(model: onnx.ModelProto) -> None:
    """Make Resize measure from the corner of a pixel, as up to opset 10; the converter leaves its centre."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = node.attribute[0].t
    for node in (node for node in model.graph.node if node.op_type == "Resize"):
        given = constants.get(node.input[2])
        scales = np.ones(1) if given is None else numpy_helper.to_array(given)
        kept = [entry for entry in node.attribute if entry.name == "mode"]
        del node.attribute[:]
        rounding = "ceil" if scales.min() < 1 else "floor"  # as in ONNX Runtime; the old standard left it open
        node.attribute.extend(
            [
                *kept,
                helper.make_attribute("coordinate_transformation_mode", "asymmetric"),
                helper.make_attribute("nearest_mode", rounding),
            ]
        )
