"""Folders as optimum exports them, of a toy network whose answer shows how a picture was made ready."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper
from PIL import Image

from emo_serve.__main__ import main
from emo_serve.engine.execution.pipeline import prepare
from emo_serve.engine.execution.session import OrtSession
from emo_serve.manifest import Manifest
from emo_serve.onnx_import.artefact import LIMITS
from emo_serve.settings import SessionOptions
from tests.onnx_import.networks import SIDE, write_network
from tests.support import encode_image

Processor = dict[str, Any]
PARTS = 4
"""Sides of the grid of mean colours that the toy network gives as its logits."""
CLASSES = 3 * PARTS * PARTS
LABELS = {str(number): f"part {number}" for number in range(CLASSES)}
CONFIG: Processor = {"architectures": ["ViTForImageClassification"], "model_type": "vit", "id2label": LABELS}
HALF: Processor = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
VIT: Processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": SIDE, "width": SIDE}, **HALF}
PICTURE = np.random.default_rng(0).integers(0, 256, (45, 60, 3), np.uint8)


def write_parts(path: Path, side: int | str = SIDE) -> None:
    """A classifier whose logits are the means of the cells of a grid: what was cut out, and how, shows in them."""
    cell = SIDE // PARTS
    nodes = [
        helper.make_node("AveragePool", ["x"], ["means"], kernel_shape=[cell] * 2, strides=[cell] * 2),
        helper.make_node("Flatten", ["means"], ["logits"]),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_network(path, nodes, {}, ["n", 3, side, side], {"logits": ["n", CLASSES]})


def write_folder(folder: Path, config: Processor = CONFIG, processor: Processor = VIT) -> Path:
    write_parts(folder / "onnx" / "model.onnx")
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def add(source: Path | str, models: Path, *options: str) -> int:
    models.mkdir(exist_ok=True)
    return main(["add", "--from-hf", str(source), "--name", "theirs", "--models", str(models), *options])


def answers(models: Path, picture: NDArray[np.uint8] = PICTURE) -> dict[str, NDArray[np.float32]]:
    """What was added says about the picture, by the server's own steps."""
    folder = models / "theirs" / "1"
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_text())
    tensor = prepare(encode_image(picture), LIMITS, manifest.preprocessing).tensor
    outputs = OrtSession(folder / "model.onnx", manifest, SessionOptions()).run(tensor[None])
    return {name: values[0] for name, values in outputs.items()}


def scores_by_hand(
    resized: tuple[int, int],
    crop: tuple[int, int] = (0, 0),
    mean: float = 0.5,
    std: float = 0.5,
    factor: float = 1 / 255,
    resample: Image.Resampling = Image.Resampling.BILINEAR,
    *,
    is_bgr: bool = False,
) -> NDArray[np.float64]:
    """What transformers' steps and the toy network give: resize, cut out, rescale, normalise."""
    pixels = np.asarray(Image.fromarray(PICTURE).resize(resized, resample), np.float64)
    left, top = crop
    values = (pixels[top : top + SIDE, left : left + SIDE, :: -1 if is_bgr else 1] * factor - mean) / std
    cells = values.reshape(PARTS, SIDE // PARTS, PARTS, SIDE // PARTS, 3).mean((1, 3))
    logits = cells.transpose(2, 0, 1).ravel()
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum())


SQUARE = (SIDE, SIDE)
BICUBIC = Image.Resampling.BICUBIC
