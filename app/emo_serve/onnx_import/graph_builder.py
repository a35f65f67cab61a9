"""Network and model spec -> the served graph: uint8 (N, H, W, 3) in, the manifest's outputs out.

The network itself is not changed: nodes are added before and after it, and its names get a prefix. One that takes a
single image becomes the body of a ``Scan`` over the batch.
"""

import numpy as np
import onnx
from onnx import TensorProto, compose, helper

from emo_serve.onnx_import.model_spec import Head, InputSpec
from emo_serve.onnx_import.nodes import NETWORK, Nodes
from emo_serve.onnx_import.outputs import add_outputs, shapes

INPUT = "images"
_LUMA = np.array([[0.299], [0.587], [0.114]], np.float32)
"""Weights of R, G and B in ITU-R 601 luma, as in Pillow."""


def probe_graph(model: onnx.ModelProto, spec: InputSpec) -> onnx.ModelProto:
    """The network with its preprocessing and its own outputs, named with the prefix ``network/``, for probing."""
    model = compose.add_prefix(model, NETWORK)
    nodes = Nodes()
    _run_network(nodes, model, spec, INPUT)
    return _model(model, nodes, spec, list(model.graph.output))


def preprocessing_graph(model: onnx.ModelProto, spec: InputSpec) -> onnx.ModelProto:
    """The preprocessing alone: its outputs are the network's inputs, named with the prefix ``network/``."""
    nodes = Nodes()
    names = _feed(nodes, spec, INPUT)
    outputs = [value for value in compose.add_prefix(model, NETWORK).graph.input if value.name in names]
    return _model(onnx.ModelProto(opset_import=model.opset_import, ir_version=model.ir_version), nodes, spec, outputs)


def output_name(name: str) -> str:
    """The name of a tensor of the network in a ``probe_graph`` or ``preprocessing_graph``."""
    return NETWORK + name


def served_graph(model: onnx.ModelProto, spec: InputSpec, head: Head) -> onnx.ModelProto:
    """The complete graph, checked; outputs ``scores``, or ``boxes`` and ``scores``, float32."""
    model = compose.add_prefix(model, NETWORK)
    nodes = Nodes()
    wanted = shapes(head)
    if spec.one_by_one:
        pixels = _scan_batch(nodes, model, spec, head)
    else:
        _run_network(nodes, model, spec, INPUT)
        pixels = add_outputs(nodes, spec.rule, head)
    for name, found in zip(wanted, pixels, strict=True):
        nodes.named("Identity", [found], name)
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape]) for name, shape in wanted.items()
    ]
    served = _model(model, nodes, spec, outputs)
    onnx.checker.check_model(served)
    return served


def _model(
    model: onnx.ModelProto, nodes: Nodes, spec: InputSpec, outputs: list[onnx.ValueInfoProto]
) -> onnx.ModelProto:
    shape: list[str | int | None] = ["batch", spec.rule.height, spec.rule.width, 3]
    inputs = [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, shape)]
    graph = helper.make_graph(nodes.nodes, "served", inputs, outputs, nodes.constants)
    return helper.make_model(
        graph,
        opset_imports=model.opset_import,
        functions=model.functions,
        ir_version=max(model.ir_version, 4),  # since 4, weights need not be inputs
        producer_name="emo-serve add",
    )


def _run_network(nodes: Nodes, model: onnx.ModelProto, spec: InputSpec, images: str) -> None:
    """Add the preprocessing and the network, for ``images`` uint8 (N, H, W, 3)."""
    _feed(nodes, spec, images)
    nodes.nodes.extend(model.graph.node)
    nodes.constants.extend(model.graph.initializer)


def _feed(nodes: Nodes, spec: InputSpec, images: str) -> list[str]:
    """Add the preprocessing of ``images`` uint8 (N, H, W, 3); returns the names of the network's inputs."""
    rule, names = spec.rule, [NETWORK + spec.name]
    if spec.sizes is not None:
        name, dtype = spec.sizes
        batch = nodes.op("Gather", [nodes.op("Shape", [images]), nodes.numbers(0)])
        size = nodes.constant(np.array([[rule.width, rule.height]], dtype))
        shape = nodes.op("Concat", [batch, nodes.numbers(2)], axis=0)
        names.append(nodes.named("Expand", [size, shape], NETWORK + name))
    if spec.dtype != "uint8" or spec.channels == "grey":
        images = nodes.cast(images, "float32")
    if spec.channels == "grey":
        images = nodes.op("MatMul", [images, nodes.constant(_LUMA)])
        images = nodes.cast(nodes.op("Round", [images]), "uint8") if spec.dtype == "uint8" else images
    if spec.dtype != "uint8":
        count = 1 if spec.channels == "grey" else 3
        if any(rule.mean):
            images = nodes.op("Sub", [images, nodes.constant(np.array(rule.mean[:count], np.float32))])
        images = nodes.op("Div", [images, nodes.constant(np.array(rule.std[:count], np.float32))])
    if spec.channels == "bgr":
        images = nodes.op("Gather", [images, nodes.numbers(2, 1, 0)], axis=3)
    if spec.channels_first:
        images = nodes.op("Transpose", [images], perm=[0, 3, 1, 2])
    if spec.dtype == "float16":
        images = nodes.cast(images, "float16")
    if spec.is_unbatched:
        images = nodes.op("Squeeze", [images, nodes.numbers(0)])
    nodes.named("Identity", [images], names[0])
    return names


def _scan_batch(nodes: Nodes, model: onnx.ModelProto, spec: InputSpec, head: Head) -> list[str]:
    """Add a Scan that takes the batch image by image; returns its outputs (N, ...)."""
    body = Nodes()
    first = body.numbers(0)
    _run_network(body, model, spec, body.op("Unsqueeze", ["image", first]))
    wanted = shapes(head)
    for name, found in zip(wanted, add_outputs(body, spec.rule, head), strict=True):
        body.named("Squeeze", [found, first], f"image/{name}")
    graph = helper.make_graph(
        body.nodes,
        "image",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [spec.rule.height, spec.rule.width, 3])],
        [helper.make_tensor_value_info(f"image/{name}", TensorProto.FLOAT, shape) for name, shape in wanted.items()],
        body.constants,
    )
    outputs = [f"all/{name}" for name in wanted]
    nodes.nodes.append(helper.make_node("Scan", [INPUT], outputs, body=graph, num_scan_inputs=1))
    return outputs
