"""A network and a plan -> the graph that is served: uint8 (N, H, W, 3) in, the manifest's outputs out.

The network itself is not changed, only given new first and last nodes; its names get a prefix. One that takes a single
image becomes the body of a ``Scan`` over the batch.
"""

import numpy as np
import onnx
from onnx import TensorProto, compose, helper

from emo_serve.onnx_import.model_spec import End, Front
from emo_serve.onnx_import.nodes import NETWORK, Nodes
from emo_serve.onnx_import.outputs import add_outputs, shapes

INPUT = "images"
_LUMA = np.array([[0.299], [0.587], [0.114]], np.float32)
"""Of R, G, B, by ITU-R 601, as Pillow makes grey."""


def probe_graph(model: onnx.ModelProto, front: Front) -> onnx.ModelProto:
    """The network behind its front, with its own outputs, ``network/`` before their names, to see what they are."""
    model = compose.add_prefix(model, NETWORK)
    nodes = Nodes()
    _run_network(nodes, model, front, INPUT)
    return _model(model, nodes, front, list(model.graph.output))


def front_graph(model: onnx.ModelProto, front: Front) -> onnx.ModelProto:
    """What makes the network's inputs, alone, ``network/`` before their names, to see what they are."""
    nodes = Nodes()
    names = _feed(nodes, front, INPUT)
    outputs = [value for value in compose.add_prefix(model, NETWORK).graph.input if value.name in names]
    return _model(onnx.ModelProto(opset_import=model.opset_import, ir_version=model.ir_version), nodes, front, outputs)


def output_name(name: str) -> str:
    """What a tensor of the network is called in a ``probe_graph`` or ``front_graph``."""
    return NETWORK + name


def served_graph(model: onnx.ModelProto, front: Front, end: End) -> onnx.ModelProto:
    """The whole graph, checked; outputs ``scores``, or ``boxes`` and ``scores``, float32."""
    model = compose.add_prefix(model, NETWORK)
    nodes = Nodes()
    wanted = shapes(end)
    if front.one_by_one:
        pixels = _in_turn(nodes, model, front, end)
    else:
        _run_network(nodes, model, front, INPUT)
        pixels = add_outputs(nodes, front.rule, end)
    for name, found in zip(wanted, pixels, strict=True):
        nodes.named("Identity", [found], name)
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape]) for name, shape in wanted.items()
    ]
    served = _model(model, nodes, front, outputs)
    onnx.checker.check_model(served)
    return served


def _model(model: onnx.ModelProto, nodes: Nodes, front: Front, outputs: list[onnx.ValueInfoProto]) -> onnx.ModelProto:
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


def _run_network(nodes: Nodes, model: onnx.ModelProto, front: Front, images: str) -> None:
    """Add the front and the network, for ``images`` uint8 (N, H, W, 3)."""
    _feed(nodes, front, images)
    nodes.nodes.extend(model.graph.node)
    nodes.constants.extend(model.graph.initializer)


def _feed(nodes: Nodes, front: Front, images: str) -> list[str]:
    """Add what makes the network's inputs of ``images`` uint8 (N, H, W, 3); give their names."""
    rule, names = front.rule, [NETWORK + front.name]
    if front.sizes is not None:
        name, dtype = front.sizes
        batch = nodes.op("Gather", [nodes.op("Shape", [images]), nodes.numbers(0)])
        size = nodes.constant(np.array([[rule.width, rule.height]], dtype))
        shape = nodes.op("Concat", [batch, nodes.numbers(2)], axis=0)
        names.append(nodes.named("Expand", [size, shape], NETWORK + name))
    if front.dtype != "uint8" or front.channels == "grey":
        images = nodes.cast(images, "float32")
    if front.channels == "grey":
        images = nodes.op("MatMul", [images, nodes.constant(_LUMA)])
        images = nodes.cast(nodes.op("Round", [images]), "uint8") if front.dtype == "uint8" else images
    if front.dtype != "uint8":
        count = 1 if front.channels == "grey" else 3
        if any(rule.mean):
            images = nodes.op("Sub", [images, nodes.constant(np.array(rule.mean[:count], np.float32))])
        images = nodes.op("Div", [images, nodes.constant(np.array(rule.std[:count], np.float32))])
    if front.channels == "bgr":
        images = nodes.op("Gather", [images, nodes.numbers(2, 1, 0)], axis=3)
    if front.channels_first:
        images = nodes.op("Transpose", [images], perm=[0, 3, 1, 2])
    if front.dtype == "float16":
        images = nodes.cast(images, "float16")
    if front.lone:
        images = nodes.op("Squeeze", [images, nodes.numbers(0)])
    nodes.named("Identity", [images], names[0])
    return names


def _in_turn(nodes: Nodes, model: onnx.ModelProto, front: Front, end: End) -> list[str]:
    """Add a Scan that takes the batch image by image; give its outputs (N, ...)."""
    body = Nodes()
    first = body.numbers(0)
    _run_network(body, model, front, body.op("Unsqueeze", ["image", first]))
    wanted = shapes(end)
    for name, found in zip(wanted, add_outputs(body, front.rule, end), strict=True):
        body.named("Squeeze", [found, first], f"image/{name}")
    graph = helper.make_graph(
        body.nodes,
        "image",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [front.rule.height, front.rule.width, 3])],
        [helper.make_tensor_value_info(f"image/{name}", TensorProto.FLOAT, shape) for name, shape in wanted.items()],
        body.constants,
    )
    outputs = [f"all/{name}" for name in wanted]
    nodes.nodes.append(helper.make_node("Scan", [INPUT], outputs, body=graph, num_scan_inputs=1))
    return outputs
