"""YOLOX's raw head: rows over grids, whose boxes are offsets within a cell and logarithms of sizes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.add.ends import Answers
from app.errors import StartupError
from app.manifest import Preprocessing

_STRIDES = ((8, 16, 32), (8, 16, 32, 64))
"""Pixels a cell of each grid, the finest first: of all sizes of YOLOX, and of those for large inputs."""
_GROWS = 0.5  # correlation of a decoded centre with the place of its cell; measured with YOLOX-nano: 1.00, and raw -0.2
_FAR = 3.0  # cells; measured: 1.0


def raw_strides(answers: Answers, rule: Preprocessing, *, is_told: bool = False) -> tuple[int, ...] | None:
    """The strides of the grids that the rows of one output (N, A, 5 + C) are of; None where it is no raw head.

    There must be as many rows as cells, and their first two values must be offsets within cells rather than places in
    the picture; the latter is not asked where it ``is_told``. Raises StartupError where told otherwise than it can be.
    """
    tables = [values for values in answers.values() if values[0].ndim == 3 and min(values[0].shape[1:]) >= 6]
    for table, strides in ((table, strides) for table in tables for strides in _STRIDES):
        rows, columns = max(table[0].shape[1:]), min(table[0].shape[1:])
        cells = cells_of(strides, rule)
        if rows == len(cells) and (is_told or _are_offsets([_by_row(value, columns) for value in table], cells)):
            return strides
    if is_told:
        numbers = " or ".join(str(len(cells_of(strides, rule))) for strides in _STRIDES)
        msg = f"--boxes yolox does not fit: the head of YOLOX has {numbers} rows for {rule.width}x{rule.height}"
        raise StartupError(msg)
    return None


def cells_of(strides: Sequence[int], rule: Preprocessing) -> NDArray[np.float32]:
    """Column, row and stride of every cell, (A, 3), grid by grid in reading order."""
    grids = []
    for stride in strides:
        row, column = np.mgrid[0 : rule.height // stride, 0 : rule.width // stride]
        grids.append(np.stack([column.ravel(), row.ravel(), np.full(row.size, stride)], axis=1))
    return np.concatenate(grids).astype(np.float32)


def _by_row(value: NDArray[np.generic], columns: int) -> NDArray[np.float64]:
    """(A, F) of (1, A, F) or (1, F, A)."""
    table: NDArray[np.float64] = value[0].astype(np.float64)
    return table if table.shape[1] == columns else table.T


def _are_offsets(tables: Sequence[NDArray[np.float64]], cells: NDArray[np.float32]) -> bool:
    """Whether the boxes are small numbers that do not grow with the place of their cells, nor fractions."""
    boxes = np.stack([table[:, :4] for table in tables])  # (P, A, 4)
    places = cells[:, :2] * cells[:, 2:]  # (A, 2)
    grows = any(_correlation(boxes[..., axis].mean(axis=0), places[:, axis]) > _GROWS for axis in (0, 1))
    are_fractions = bool(((boxes >= 0) & (boxes <= 1)).all())
    return not grows and not are_fractions and float(np.median(np.abs(boxes))) < _FAR


def _correlation(values: NDArray[np.float64], others: NDArray[np.float32]) -> float:
    return 0.0 if np.ptp(values) == 0 else float(np.corrcoef(values, others)[0, 1])
