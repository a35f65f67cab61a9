"""Ways to a faster graph that were tried and not taken, each against the graph that is served.

    python -m bench.graph_variants emo_1m emo_5m [--rounds 60]

One thread, batch 1, random weights, all in turn; the smallest CPU time of a run counts. OpenVINO is tried where its
package is installed (pip install openvino). docs/graph.md has what came out.
"""

import argparse
import importlib.util
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import Tensor

import emo
from bench.graph import milliseconds, session_run, side_of, write_served
from bench.models import fresh
from emo.export.graph_fusion import TokenAttention
from emo.models.names import model_name

LARGE = 8192
"""Weights of a 1x1 convolution from which on int8 might pay."""


def main() -> None:
    """Print a line for each attempt."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=model_name, choices=emo.MODEL_NAMES)
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    print(f"{'model':16} {'attempt':34} {'min ms':>8} {'served / it':>12}")
    for name in options.models:
        with tempfile.TemporaryDirectory() as folder:
            compare(name, options.rounds, Path(folder))


def compare(name: str, rounds: int, folder: Path) -> None:
    """Make all graphs of one model, time them in turn."""
    side = side_of(name)
    pixels = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    runs = dict(attempts(name, pixels, folder))
    times = milliseconds(runs, rounds, name)
    for attempt, taken in times.items():
        print(f"{name:16} {attempt:34} {min(taken):8.2f} {min(times['served']) / min(taken):12.2f}")


def attempts(name: str, pixels: NDArray[np.uint8], folder: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """Name and run of each, that which is served first."""
    served = folder / "served.onnx"
    write_served(fresh(name), name, served)
    yield "served", session_run(served, pixels)
    with mock.patch.object(TokenAttention, "forward", _fused_attention):
        write_served(fresh(name), name, folder / "fused.onnx")
    yield "attention as MultiHeadAttention", session_run(folder / "fused.onnx", pixels)
    for least, label in ((0, "all 1x1 convolutions"), (LARGE, f"1x1 of {LARGE} weights or more")):
        quantised = folder / f"int8-{least}.onnx"
        _quantise(served, quantised, least, pixels)
        yield f"int8: {label}", session_run(quantised, pixels)
    if importlib.util.find_spec("openvino"):
        for precision in ("f32", "bf16"):
            yield f"OpenVINO, {precision}", _openvino_run(served, pixels, precision)


def _fused_attention(attention: TokenAttention, x: Tensor) -> Tensor:
    """TokenAttention.forward with windows taken apart first and ONNX Runtime's own operator for all the rest."""
    n, height, width, channels = x.shape
    side = attention.window
    bottom, right = -height % side, -width % side
    x = torch.nn.functional.pad(x, (0, 0, 0, right, 0, bottom)) if bottom or right else x
    rows, columns = (height + bottom) // side, (width + right) // side
    tokens = x.reshape(n, side, rows, side, columns, channels).permute(0, 2, 4, 1, 3, 5)
    tokens = tokens.reshape(n * rows * columns, side * side, channels)
    flat = tokens.reshape(-1, channels)
    query, key = (linear(flat).reshape(tokens.shape) for linear in (attention.query, attention.key))
    mixed: Tensor = torch.onnx.ops.symbolic(
        "com.microsoft::MultiHeadAttention",
        (query, key, tokens),
        attrs={"num_heads": attention.heads, "scale": 1.0},
        dtype=torch.float32,
        shape=tokens.shape,
        version=1,
    )
    mixed = mixed.reshape(n, rows, columns, side, side, channels).permute(0, 3, 1, 4, 2, 5)
    return mixed.reshape(n, height + bottom, width + right, channels)[:, :height, :width]


class _Pixels(CalibrationDataReader):  # type: ignore[misc]  # of a library without types
    def __init__(self, name: str, pixels: NDArray[np.uint8]) -> None:
        self._left = [{name: pixels}]

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        return self._left.pop() if self._left else None


def _quantise(source: Path, target: Path, least: int, pixels: NDArray[np.uint8]) -> None:
    graph = onnx.load(source).graph
    shapes = {weights.name: tuple(weights.dims) for weights in graph.initializer}
    chosen = [
        node.name
        for node in graph.node
        if node.op_type == "Conv"
        and shapes[node.input[1]][2:] == (1, 1)
        and shapes[node.input[1]][0] * shapes[node.input[1]][1] >= least
    ]
    quantize_static(
        source,
        target,
        _Pixels(graph.input[0].name, pixels),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        nodes_to_quantize=chosen,
        op_types_to_quantize=["Conv"],
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def _openvino_run(path: Path, pixels: NDArray[np.uint8], precision: str) -> Callable[[], object]:
    import openvino  # noqa: PLC0415  not one of this project's packages

    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": precision}
    request = openvino.Core().compile_model(path, "CPU", settings).create_infer_request()
    request.infer([pixels])
    return lambda: request.infer([pixels])


if __name__ == "__main__":
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    main()
