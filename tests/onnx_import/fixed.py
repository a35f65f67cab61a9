"""Networks that answer always the same, or with the mean colours of the picture: only what they answer matters."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.onnx_import.networks import write_network

SIDE = 64


def write_fixed(path: Path, answers: Mapping[str, NDArray[np.generic]], *, side: int = SIDE) -> Path:
    """Outputs (1, ...) whatever the picture (1, 3, S, S)."""
    nodes = [helper.make_node("Identity", [f"fixed {name}"], [name]) for name in answers]
    constants = {f"fixed {name}": values for name, values in answers.items()}
    types = {name: helper.np_dtype_to_tensor_dtype(values.dtype) for name, values in answers.items()}
    shapes = {name: list(values.shape) for name, values in answers.items()}
    return write_network(path, nodes, constants, [1, 3, side, side], shapes, types=types)


def write_linear(
    path: Path,
    weights: NDArray[np.float32],
    bias: NDArray[np.float32],
    *,
    last: str | None = None,
    shape: tuple[str | int | None, ...] = ("n", 3, SIDE, SIDE),
    dtype: int = TensorProto.FLOAT,
) -> Path:
    """``y`` (N, C): ``weights`` (3, C) of the means of the channels, and ``bias`` (C,), then an operator."""
    places = [2, 3] if shape[1] == len(weights) else [1, 2]
    nodes = [
        helper.make_node("Cast", ["x"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["means"], axes=places, keepdims=0),
        helper.make_node("Gemm", ["means", "weights", "bias"], ["z" if last else "y"]),
    ]
    if last:
        nodes.append(helper.make_node(last, ["z"], ["y"]))
    constants = {"weights": weights, "bias": bias}
    return write_network(path, nodes, constants, shape, {"y": [shape[0], len(bias)]}, dtype)


def with_metadata(path: Path, **entries: str) -> Path:
    """Copy of the file with the metadata that exporters write."""
    model = onnx.load(path)
    for key, value in entries.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(model, path)
    return path


def with_ending(path: Path, output: str, *operators: tuple[str, float | None]) -> Path:
    """Copy of the file with operators after the output, each with a constant or none."""
    model = onnx.load(path)
    (last,) = (node for node in model.graph.node if output in node.output)
    last.output[list(last.output).index(output)] = f"{output} 0"
    for number, (name, value) in enumerate(operators):
        inputs = [f"{output} {number}"]
        if value is not None:
            inputs.append(f"{output} constant {number}")
            model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), inputs[1]))
        ends = number == len(operators) - 1
        model.graph.node.append(helper.make_node(name, inputs, [output if ends else f"{output} {number + 1}"]))
    onnx.save(model, path)
    return path
