"""The network of ``tests.onnx_import.suppressing`` in NumPy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from tests.onnx_import.suppressing import (
    ANCHORS,
    BIAS,
    CELL,
    CELLS,
    CLASSES,
    KERNELS,
    OVERLAP,
    ROWS,
    SIDE,
    THRESHOLD,
    anchors,
)


@dataclass(frozen=True, slots=True)
class Found:
    """An object: its class from 0, its score and its box in pixels of the picture."""

    label: int
    score: float
    box: tuple[float, ...]


def expected(picture: NDArray[np.uint8], mode: Literal["stretch", "fit"], *, suppressed: bool = True) -> list[Found]:
    """The expected objects in a picture (H, W, 3), best first."""
    height, width = picture.shape[:2]
    wide, high = SIDE, SIDE
    if mode == "fit":
        share = SIDE / max(width, height)
        wide, high = round(width * share), round(height * share)
    tensor = np.zeros((SIDE, SIDE, 3), np.uint8)
    resized = PillowImage.fromarray(picture).resize((wide, high), PillowImage.Resampling.BILINEAR)
    tensor[:high, :wide] = np.asarray(resized)
    boxes, scores = _predictions(tensor)
    candidates = [
        (float(scores[anchor, label]), anchor, label)
        for anchor in range(ANCHORS)
        for label in range(CLASSES)
        if scores[anchor, label] > THRESHOLD
    ]
    kept: list[tuple[float, int, int]] = []
    for score, anchor, label in sorted(candidates, reverse=True):
        rivals = [boxes[other] for _, other, of in kept if of == label and suppressed]
        if all(overlap(boxes[anchor], rival) <= OVERLAP for rival in rivals):
            kept.append((score, anchor, label))
    scale = np.array([width / wide, height / high] * 2)
    shown = [(score, label, boxes[anchor].clip(0, SIDE) * scale) for score, anchor, label in kept[:ROWS]]
    limit = np.array([width, height] * 2)
    return [Found(label, score, tuple(np.minimum(box, limit).tolist())) for score, label, box in shown]


def _predictions(tensor: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Boxes (A, 4) in pixels and scores (A, C)."""
    patches = (tensor / 255).reshape(CELLS, CELL, CELLS, CELL, 3)
    features = np.einsum("iyjxc,kcyx->ijk", patches, KERNELS.astype(np.float64)) + BIAS
    predictions = features.reshape(ANCHORS, 7)
    return anchors() + 3 * predictions[:, :4], 1 / (1 + np.exp(-predictions[:, 4:]))


def overlap(box: Sequence[float] | NDArray[np.float64], other: Sequence[float] | NDArray[np.float64]) -> float:
    """Intersection over union of two xyxy boxes."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    common = max(width, 0) * max(height, 0)
    both = sum((corners[2] - corners[0]) * (corners[3] - corners[1]) for corners in (box, other))
    return float(common / (both - common))


def blocks(seed: int, width: int, height: int) -> NDArray[np.uint8]:
    """A picture (height, width, 3) of blocks of 10 pixels a side, each of a colour of its own, with some noise."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 200, (-(-height // 10), -(-width // 10), 3), dtype=np.uint8)
    picture = colours.repeat(10, axis=0).repeat(10, axis=1)[:height, :width]
    return picture + rng.integers(0, 56, picture.shape, dtype=np.uint8)
