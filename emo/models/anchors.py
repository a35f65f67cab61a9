"""Anchors and the box coder of SSD (arXiv 1512.02325, section 2.2) as the SSDLite configurations set them."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

STRIDES = (16, 32, 64, 107, 160, 320)
FINE_STRIDE = 8
"""Stride of an additional level, for one more size than in SIZES; it comes last, so that others keep their index."""
SIZES = (48, 100, 150, 202, 253, 304, 320)
"""Level k has square anchors of SIZES[k] and of the geometric mean with SIZES[k + 1], in pixels of a 320 px input.

Data with smaller objects, or a larger input, need other sizes. One more of them, in front, adds a finer level.
"""
ANCHORS_PER_CELL = 6
FINE_ANCHORS_PER_CELL = 4
DELTA_SCALE = (0.1, 0.1, 0.2, 0.2)
MAX_LOG_RATIO = math.log(1000 / 16)


def has_fine_level(sizes: Sequence[int]) -> bool:
    """True if there is a level of stride 8."""
    return len(sizes) > len(SIZES)


def cell_anchors(level: int, sizes: Sequence[int] = SIZES) -> Tensor:
    """(6, 4) as x1, y1, x2, y2 around the first cell: two squares, then height/width 1/2, 2, 1/3, 3.

    For the fine level, which is the last one, (4, 4): without the last two.
    """
    fine = level == len(STRIDES)
    place = 0 if fine else level + has_fine_level(sizes)
    size, larger = sizes[place], math.sqrt(sizes[place] * sizes[place + 1])
    oblong = [(size / math.sqrt(ratio), size * math.sqrt(ratio)) for ratio in (1 / 2, 2, 1 / 3, 3)]
    sides = [(size, size), (larger, larger), *oblong][: FINE_ANCHORS_PER_CELL if fine else ANCHORS_PER_CELL]
    centre = _stride(level) / 2
    return torch.tensor([(centre - w / 2, centre - h / 2, centre + w / 2, centre + h / 2) for w, h in sides])


def _stride(level: int) -> int:
    return FINE_STRIDE if level == len(STRIDES) else STRIDES[level]


def grid_anchors(map_sizes: Sequence[tuple[int, int]], sizes: Sequence[int] = SIZES) -> Tensor:
    """(A, 4) for the feature maps of all levels, given as (height, width); the cells of a level row by row."""
    levels = []
    for level, (height, width) in enumerate(map_sizes):
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        shift = torch.stack((x, y, x, y), -1).reshape(-1, 1, 4) * _stride(level)
        levels.append((shift + cell_anchors(level, sizes)).reshape(-1, 4))
    return torch.cat(levels)


def decode_boxes(
    anchors: Tensor, deltas: Tensor, height: int, width: int, delta_scale: Sequence[float] | None = DELTA_SCALE
) -> Tensor:
    """``boxes_xyxy`` in pixels, clipped to the input, from anchors (A, 4) and deltas (..., A, 4); None: unscaled."""
    scaled = deltas if delta_scale is None else deltas * deltas.new_tensor(delta_scale)
    sizes = anchors[:, 2:] - anchors[:, :2]
    centres = (anchors[:, 2:] + anchors[:, :2]) / 2
    centres = centres + scaled[..., :2] * sizes
    halves = sizes * scaled[..., 2:].clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp() / 2
    x1, y1 = (centres - halves).unbind(-1)
    x2, y2 = (centres + halves).unbind(-1)
    return torch.stack((x1.clamp(0, width), y1.clamp(0, height), x2.clamp(0, width), y2.clamp(0, height)), -1)


def encode_boxes(anchors: Tensor, boxes_xyxy: Tensor) -> Tensor:
    """Deltas (A, 4) that ``decode_boxes`` turns back into the boxes (A, 4)."""
    sizes = anchors[:, 2:] - anchors[:, :2]
    box_sizes = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).clamp(min=1e-3)
    shift = (boxes_xyxy[:, 2:] + boxes_xyxy[:, :2] - anchors[:, 2:] - anchors[:, :2]) / 2 / sizes
    deltas = torch.cat((shift, (box_sizes / sizes).log()), 1)
    return deltas / deltas.new_tensor(DELTA_SCALE)
