"""CPU time of a network as served against a stock ``torch.onnx`` export of the same weights, interleaved in one run.

    python -m bench.graph emo_1m emo_5m ssdlite_emo_1m [--rounds 100] [--batch 1]
    python -m bench.graph emo_1m --stock theirs.onnx

The stock export is this project's own model, or the file of a classifier that ``--stock`` names. One thread; the stock
graph gets pictures that are normalised already, the served one uint8. The smallest and the median time of a run are
printed: on a busy machine the smallest means more.
"""

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnxruntime
from tqdm import tqdm

import emo
from bench.models import fresh, write_stock
from emo.checkpoints.onnx_weights import read_onnx_weights
from emo.export.exporter import write_onnx
from emo.export.graph_fusion import ServedGraph
from emo.models.heads.model import Model
from emo.models.names import model_name

SIDES = {"ssdlite": 320, "emo": 224}


def main() -> None:
    """Compare each model that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=model_name, choices=emo.MODEL_NAMES)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--stock", type=Path, help="an ONNX file that torch.onnx made of the one model that is named")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    print(f"{'model':16} {'batch':>5} {'graph':8} {'min ms':>8} {'median ms':>10} {'ratio':>6}")
    for name in options.models:
        with tempfile.TemporaryDirectory() as folder:
            compare(name, options.batch, options.rounds, Path(folder), options.stock)


def compare(name: str, batch: int, rounds: int, folder: Path, stock_file: Path | None) -> None:
    """Export twice, time in turn, print a line each."""
    side = side_of(name)
    if stock_file is None:
        model, stock_file = fresh(name), folder / "stock.onnx"
        write_stock(model, side, stock_file)
    else:
        model = read_onnx_weights(stock_file).model
    write_served(model, name, folder / "served.onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), dtype=np.uint8)
    normalised = pixels.transpose(0, 3, 1, 2).astype(np.float32) / 128 - 1
    stock, served = session_run(stock_file, normalised), session_run(folder / "served.onnx", pixels)
    runs = {"stock": stock, "served": served}
    times = milliseconds(runs, rounds, name)
    for graph, taken in times.items():
        ratio = min(times["stock"]) / min(taken)
        print(f"{name:16} {batch:5} {graph:8} {min(taken):8.2f} {statistics.median(taken):10.2f} {ratio:6.2f}")


def side_of(name: str) -> int:
    """Of the input that the model is timed with, in pixels."""
    return SIDES["ssdlite" if name.startswith("ssdlite") else "emo"]


def write_served(model: Model, name: str, path: Path) -> None:
    """Export the model called ``name`` as it is served."""
    outputs = ["boxes", "scores"] if name.startswith("ssdlite") else ["scores"]
    write_onnx(ServedGraph(model), side_of(name), side_of(name), outputs, path)


def milliseconds(runs: Mapping[str, Callable[[], object]], rounds: int, title: str) -> dict[str, list[float]]:
    """The CPU time of each run, all threads included, in turn for so many rounds; shows a progress bar."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in tqdm(range(rounds), title, leave=False):
        for name, run in runs.items():
            started = time.process_time()
            run()
            times[name].append((time.process_time() - started) * 1000)
    return times


def session_run(path: Path, batch: np.ndarray) -> Callable[[], object]:
    """A function that runs this graph once on this batch, in one thread; it has run once already."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feeds = {session.get_inputs()[0].name: batch}
    session.run(None, feeds)
    return lambda: session.run(None, feeds)


if __name__ == "__main__":
    main()
