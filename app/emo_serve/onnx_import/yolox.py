"""YOLOX heads: one row a grid cell; raw boxes are offsets within a cell and logarithms of sizes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emo_serve.errors import StartupError
from emo_serve.manifest import Preprocessing
from emo_serve.onnx_import.activations import SLACK
from emo_serve.onnx_import.classifier_head import Answers
from emo_serve.onnx_import.coco import COCO

_STRIDES = ((8, 16, 32), (8, 16, 32, 64))
"""Pixels a cell of each grid, the finest first: of YOLOX in all sizes, and of its variants for large inputs."""
_GROWS = 0.5  # correlation of a decoded centre with its cell's position; measured with YOLOX-nano: 1.00, raw -0.2
_FAR = 3.0  # cells; measured: 1.0


@dataclass(frozen=True, slots=True)
class Grids:
    """The grids behind the rows of an output: ``strides`` of their cells, and whether boxes are raw."""

    strides: tuple[int, ...]
    is_raw: bool


def find_grids(answers: Answers, rule: Preprocessing, num_labels: int | None) -> Grids | None:
    """The grids of YOLOX, if an output (N, A, 5 + C) has a row for each cell of them, and scores in 0..1.

    Boxes are raw if their first two values do not grow with the position of the cell. A network with decoded rows is
    YOLOX only if it has an objectness, which follows from the number of labels, else from that of COCO's categories.
    """
    for tables, strides in _tables(answers, rule):
        cells = cells_of(strides, rule)
        scores = np.stack([table[:, 4:] for table in tables])
        if scores.min() < -SLACK or scores.max() > 1 + SLACK:
            continue
        if _are_offsets(np.stack([table[:, :4] for table in tables]), cells):
            return Grids(strides, is_raw=True)
        if scores.shape[-1] == 1 + (num_labels or len(COCO)) and np.ptp(scores[..., 0]) > SLACK:
            return Grids(strides, is_raw=False)
    return None


def declared_grids(answers: Answers, rule: Preprocessing) -> Grids:
    """The grids of a raw head, as --boxes says; raises StartupError if no output has that many rows."""
    for _, strides in _tables(answers, rule):
        return Grids(strides, is_raw=True)
    numbers = " or ".join(str(len(cells_of(strides, rule))) for strides in _STRIDES)
    msg = f"--boxes yolox does not fit: the head of YOLOX has {numbers} rows for {rule.width}x{rule.height}"
    raise StartupError(msg)


def _tables(answers: Answers, rule: Preprocessing) -> Iterator[tuple[list[NDArray[np.float64]], tuple[int, ...]]]:
    """Outputs with a row for each cell, (A, 5 + C) for each picture."""
    for values, strides in ((values, strides) for values in answers.values() for strides in _STRIDES):
        shape = values[0].shape
        if len(shape) == 3 and shape[1] == len(cells_of(strides, rule)) and shape[2] >= 6:
            yield [value[0].astype(np.float64) for value in values], strides


def cells_of(strides: Sequence[int], rule: Preprocessing) -> NDArray[np.float32]:
    """Column, row and stride of every cell, (A, 3), grid by grid in reading order."""
    grids = []
    for stride in strides:
        row, column = np.mgrid[0 : rule.height // stride, 0 : rule.width // stride]
        grids.append(np.stack([column.ravel(), row.ravel(), np.full(row.size, stride)], axis=1))
    return np.concatenate(grids).astype(np.float32)


def _are_offsets(boxes: NDArray[np.float64], cells: NDArray[np.float32]) -> bool:
    """True if boxes (P, A, 4) are small numbers, not fractions, that do not grow with the position of their cells."""
    places = cells[:, :2] * cells[:, 2:]  # (A, 2)
    grows = any(_correlation(boxes[..., axis].mean(axis=0), places[:, axis]) > _GROWS for axis in (0, 1))
    are_fractions = bool(((boxes >= 0) & (boxes <= 1)).all())
    return not grows and not are_fractions and float(np.median(np.abs(boxes))) < _FAR


def _correlation(values: NDArray[np.float64], others: NDArray[np.float32]) -> float:
    return 0.0 if np.ptp(values) == 0 else float(np.corrcoef(values, others)[0, 1])
