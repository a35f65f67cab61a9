"""An EMO classifier that ``torch.onnx`` exported -> the model, to be exported again for serving.

Exporters and optimisers rename tensors, but keep the order in which layers compute: weights are read in that order. A
BatchNorm that was folded into the convolution before it becomes one that only adds the remaining bias. The result is
verified: the model has to give the file's answers.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

import emo
from emo.models.backbone import KNOWN_WIDTHS, SIZE_OF_WIDTH
from emo.models.heads.model import Model
from emo_serve.files import GIT_LFS_ADVICE, is_git_lfs_pointer

_AGREEMENT = 1e-4
"""Largest difference between the model's and the file's answers, relative to the largest answer."""

_USUAL = (2, 3, 224, 224)  # for dynamic sizes

_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)
_KINDS = {
    nn.Conv2d: "Conv",
    nn.BatchNorm2d: "BatchNormalization",
    nn.LayerNorm: "LayerNormalization",
    nn.Linear: "Gemm",
}


@dataclass(frozen=True, slots=True)
class OnnxWeights:
    """Content of an ONNX file; ``side`` is that of its input in pixels, None if that is dynamic or not square."""

    architecture: str
    model: Model
    side: int | None


@dataclass(frozen=True, slots=True)
class _Layer:
    """A node with weights, in the order of its inputs."""

    kind: str
    tensors: tuple[Tensor, ...]
    epsilon: float = 0.0


def read_onnx_weights(path: Path) -> OnnxWeights:
    """The classifier in an ONNX file of float32 pictures (N, 3, H, W), normalised outside, to logits or probabilities.

    Raise ValueError for a file that is broken or holds another network.
    """
    try:
        proto = onnx.load(path)
    except OSError:
        raise
    except Exception as error:  # protobuf's DecodeError is of a package that is not ours to import
        reason, *_ = str(error).split("\n")
        msg = f"{path} is broken or no ONNX file: {GIT_LFS_ADVICE if is_git_lfs_pointer(path) else reason}"
        raise ValueError(msg) from error
    layers = list(_layers(proto.graph))
    architecture = _size_of(layers, path)
    classes = [layer.tensors[0].shape[0] for layer in layers if layer.kind == "Gemm"]
    model = emo.create(architecture, classes[-1] if classes else None).eval()
    try:
        _fill(model, layers)
        side = _side_of(proto.graph)
    except ValueError as error:
        msg = f"{path} was taken for {architecture} as torch.onnx writes it, not rearranged by a runtime, but {error}"
        raise ValueError(msg) from error
    _compare(model, path)
    return OnnxWeights(architecture, model, side)


def _layers(graph: onnx.GraphProto) -> Iterator[_Layer]:
    """All nodes with weights in the order in which they compute."""
    known = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            known[node.output[0]] = node.attribute[0].t
        elif node.op_type == "Identity" and node.input[0] in known:  # equal weights are stored only once
            known[node.output[0]] = known[node.input[0]]
    scale: Tensor | None = None
    for node in graph.node:
        constants = [known[name] for name in node.input if name in known]
        tensors = tuple(_tensor(constant) for constant in constants if constant.data_type in _FLOATS)
        values = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        match node.op_type, tensors:
            case "Conv" | "BatchNormalization" | "LayerNormalization", (_, *_):
                yield _Layer(node.op_type, tensors, values.get("epsilon", 1e-5))
            case "Gemm", (weight, *rest):
                yield _Layer("Gemm", (weight if values.get("transB") else weight.T, *rest))
            # Before opset 17 a LayerNorm is many nodes: its scale is the only vector in a Mul, its shift in an Add.
            case "Mul", (vector,) if vector.ndim == 1 and len(vector) > 1:
                scale = vector
            case "Add", (vector,) if scale is not None and vector.shape == scale.shape:
                yield _Layer("LayerNormalization", (scale, vector))
                scale = None


def _tensor(proto: onnx.TensorProto) -> Tensor:
    return torch.from_numpy(numpy_helper.to_array(proto).copy())


def _size_of(layers: list[_Layer], path: Path) -> str:
    """The name of the backbone with that many channels after its last convolution; raise ValueError if none has."""
    width = next((len(layer.tensors[0]) for layer in reversed(layers) if layer.kind == "Conv"), 0)
    if width not in SIZE_OF_WIDTH:
        msg = (
            f"{path} is no EMO classifier: {width} channels leave its last convolution, those of EMO have "
            f"{KNOWN_WIDTHS}; emo-serve add takes any network"
        )
        raise ValueError(msg)
    return SIZE_OF_WIDTH[width]


def _fill(model: Model, layers: list[_Layer]) -> None:
    """Copy the weights of the layers to the model's modules; raise ValueError, which names the first mismatch."""
    left = deque(layers)
    spare: Tensor | None = None  # a bias that the last convolution of the model does not have
    for module in _modules_in_order(model):
        kind = next(kind for cls, kind in _KINDS.items() if isinstance(module, cls))
        layer = left[0] if left and left[0].kind == kind else None
        state: dict[str, Tensor]
        if isinstance(module, nn.BatchNorm2d):
            state = _batch_norm(module, layer, spare)
            spare = None
        elif layer is None or spare is not None:
            found = left[0].kind if left else "nothing"
            msg = f"before {found} there should be a {kind}" if layer is None else f"there is a bias before {found}"
            raise ValueError(msg)
        else:
            weight, *biases = layer.tensors
            bias = biases[0] if biases else None
            state = {"weight": weight}
            if module.bias is None:
                spare = bias
            else:  # exporters omit zeros
                state["bias"] = torch.zeros(len(weight)) if bias is None else bias
        if layer is not None:
            left.popleft()
        _load(module, state)
    if left:
        msg = f"{len(left)} more layers with weights follow its last"
        raise ValueError(msg)


def _batch_norm(module: nn.BatchNorm2d, layer: _Layer | None, spare: Tensor | None) -> dict[str, Tensor]:
    """The state of a BatchNorm after a convolution with the bias ``spare``; without a layer it was folded."""
    if layer is None:
        one, zero = torch.ones(module.num_features), torch.zeros(module.num_features)
        scale, shift, mean, variance = one, zero, zero, one - module.eps
    else:
        scale, shift, mean, variance = layer.tensors
        variance = variance + layer.epsilon - module.eps
    mean = mean if spare is None else mean - spare
    return {"weight": scale, "bias": shift, "running_mean": mean, "running_var": variance}


def _load(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    own = {name: tensor for name, tensor in module.state_dict().items() if name != "num_batches_tracked"}
    for name, tensor in own.items():
        given = state[name]
        if given.shape != tensor.shape or given.dtype != tensor.dtype:
            found, wanted = ((tuple(values.shape), values.dtype) for values in (given, tensor))
            msg = f"the {name} of a layer is {found}, wanted is {wanted}"
            raise ValueError(msg)
        tensor.copy_(given)


def _modules_in_order(model: Model) -> list[nn.Module]:
    """The modules with weights, in the order in which they compute."""
    order: list[nn.Module] = []
    hooks = [
        module.register_forward_pre_hook(lambda module, _: order.append(module))
        for module in model.modules()
        if isinstance(module, tuple(_KINDS))
    ]
    with torch.no_grad():
        model(torch.zeros(1, 3, 64, 64))
    for hook in hooks:
        hook.remove()
    return order


def _side_of(graph: onnx.GraphProto) -> int | None:
    """The side of the input (N, 3, side, side), if it is fixed; raise ValueError for another kind of input."""
    names = {tensor.name for tensor in graph.initializer}
    inputs = [value.type.tensor_type for value in graph.input if value.name not in names]
    shapes = [[dimension.dim_value for dimension in tensor.shape.dim] for tensor in inputs]
    if [tensor.elem_type for tensor in inputs] != [onnx.TensorProto.FLOAT] or len(shapes[0]) != 4 or shapes[0][1] != 3:
        msg = f"its inputs are {shapes}, where 0 is open; wanted is one of float32 (N, 3, H, W)"
        raise ValueError(msg)
    _, _, height, width = shapes[0]
    return height if height == width and height > 0 else None


def _compare(model: Model, path: Path) -> None:
    """Raise ValueError unless the model gives the file's answers."""
    rng = np.random.default_rng(0)
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        given = session.get_inputs()[0]
        sizes = [size if isinstance(size, int) else usual for size, usual in zip(given.shape, _USUAL, strict=True)]
        pictures = rng.standard_normal(sizes, np.float32)
        answer = session.run(None, {given.name: pictures})[0]
    except Exception as error:  # ONNX Runtime raises various errors
        reason, *_ = str(error).split("\n")
        msg = f"{path} cannot be run: {reason}"
        raise ValueError(msg) from error
    with torch.no_grad():
        logits = model(torch.from_numpy(pictures))
    difference = min(_difference(answer, own.numpy()) for own in (logits, logits.softmax(-1)))
    if not difference <= _AGREEMENT:
        msg = (
            f"{path} has the layers of EMO, but computes something else: its answers differ by {difference:.1e} of "
            f"the largest, allowed is {_AGREEMENT}"
        )
        raise ValueError(msg)
    print(f"the model answers as the file does: the largest difference is {difference:.1e} of the largest answer")


def _difference(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """The largest difference, relative to the largest wanted value."""
    return float(np.abs(found - wanted).max() / np.abs(wanted).max()) if found.shape == wanted.shape else np.inf
