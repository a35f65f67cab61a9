"""Training pictures as squares on disk, for data sets larger than memory."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emo.data.folders import LabelledFile
from emo.data.pictures import open_upright
from emo.training.distillation.cache import cached_rows
from emo.training.distillation.views import cut_view
from emo_serve.prefetch import prefetch

R = TypeVar("R")
_THREADS = 2
_SHEETS = 4  # decoded contact sheets in memory


def each_picture(
    files: Sequence[LabelledFile], start: int, least_side: int, work: Callable[[int, Image.Image], R]
) -> Iterator[R]:
    """``work`` of the number and the upright RGB picture of each file from number ``start`` on, in order, in threads.

    Large pictures may be decoded smaller, but with ``least_side`` pixels on both sides.
    Raise ValueError, which names the file, if one cannot be read.
    """
    sheet = lru_cache(_SHEETS)(open_upright)

    def one(number: int) -> R:
        file = files[number]
        if file.rectangle is None:
            return work(number, open_upright(file.path, least_side))
        x, y, width, height = file.rectangle
        return work(number, sheet(file.path).crop((x, y, x + width, y + height)))

    return prefetch(one, range(start, len(files)), _THREADS)


def stored_squares(files: Sequence[LabelledFile], side: int, path: Path) -> NDArray[np.uint8]:
    """The centre square of each picture, (N, side, side, 3), from ``path`` or computed into it."""
    whole = np.array([0, 0, 1, 1], np.float32)

    def compute(start: int) -> Iterator[NDArray[np.uint8]]:
        return each_picture(files, start, side, lambda _, picture: cut_view(picture, whole, side, side))

    return cached_rows(path, len(files), (np.uint8, (side, side, 3)), compute)
