"""Class logits of a coarse map -> the class of every pixel."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from emo_serve.vision.results import Geometry, ImageSize, Segmentation
from emo_serve.vision.rle import regions_of

MAX_MAP_PIXELS = 1024 * 1024
"""The class map of a larger image is computed at this size and enlarged, which bounds the work."""


class _Samples(NamedTuple):
    """Positions of points between the cells of a line: at ``low`` + ``share``, ``high`` being the next cell."""

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    share: NDArray[np.float32]


def segment(logits: NDArray[np.float32], geometry: Geometry, height: int, width: int) -> Segmentation:
    """The best class of every pixel of the image, the lower class id of equal ones.

    ``logits`` (C, h, w) cover the network input of ``height`` x ``width`` pixels and are interpolated bilinearly.
    """
    image, (_, cell_rows, cell_columns) = geometry.image, logits.shape
    map_size = _map_size(image)
    rows = _samples(image.height, map_size.height, geometry.scale_y, geometry.offset_y, height, cell_rows)
    columns = _samples(image.width, map_size.width, geometry.scale_x, geometry.offset_x, width, cell_columns)
    class_map = np.empty((map_size.height, map_size.width), np.uint8)
    for cell in np.unique(rows.low):
        own = rows.low == cell
        upper, lower = (_widened(logits[:, row], columns) for row in (cell, rows.high[own][0]))
        class_map[own] = _best_between(upper, lower, rows.share[own])
    return Segmentation(image, class_map, regions_of(class_map, image))


def enlarged(class_map: NDArray[np.uint8], image: ImageSize) -> NDArray[np.uint8]:
    """The class id of every pixel of the image, (height, width), from a map of at most that size."""
    height, width = class_map.shape
    if (height, width) == (image.height, image.width):
        return class_map
    rows, columns = (np.arange(image.height) * height) // image.height, (np.arange(image.width) * width) // image.width
    full: NDArray[np.uint8] = class_map.take(columns, axis=1)[rows]
    return full


def _best_between(
    upper: NDArray[np.float32], lower: NDArray[np.float32], shares: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """The best class (R, W) on R lines between two lines of logits (C, W).

    Values in between are a mean of both lines: a class nowhere above the lower value of the best class cannot win.
    """
    lowest, highest = np.minimum(upper, lower), np.maximum(upper, lower)
    candidates = np.flatnonzero((highest >= lowest.max(axis=0)).any(axis=1))
    class_ids = np.full((len(shares), upper.shape[1]), candidates[0], np.uint8)
    best = _between(upper[candidates[0]], lower[candidates[0]], shares)
    for class_id in candidates[1:]:
        values = _between(upper[class_id], lower[class_id], shares)
        np.copyto(class_ids, np.uint8(class_id), where=values > best)
        np.maximum(best, values, out=best)
    return class_ids


def _between(
    upper: NDArray[np.float32], lower: NDArray[np.float32], shares: NDArray[np.float32]
) -> NDArray[np.float32]:
    values: NDArray[np.float32] = np.multiply.outer(shares, lower - upper)
    values += upper
    return values


def _widened(line: NDArray[np.float32], columns: _Samples) -> NDArray[np.float32]:
    """(C, w) logits at the columns of the map."""
    left, right = line[:, columns.low], line[:, columns.high]
    wide: NDArray[np.float32] = left + columns.share * (right - left)
    return wide


def _map_size(image: ImageSize) -> ImageSize:
    shrink = math.sqrt(min(1.0, MAX_MAP_PIXELS / (image.width * image.height)))
    return ImageSize(max(1, int(image.width * shrink)), max(1, int(image.height * shrink)))


def _samples(image_side: int, map_side: int, scale: float, offset: float, input_side: int, cells: int) -> _Samples:
    """The centres of the map's pixels relative to the centres of the cells, in one direction."""
    in_image = (np.arange(map_side) + 0.5) * image_side / map_side
    position = ((in_image * scale + offset) * cells / input_side - 0.5).clip(0, cells - 1)
    low = position.astype(np.int64)
    return _Samples(low, np.minimum(low + 1, cells - 1), (position - low).astype(np.float32))
