"""Views of a picture for the teacher: the whole centre square first, then random crops of it.

A student that learns from crops needs the teacher's answer for the same crop ("consistent" teaching, Beyer et al.,
arXiv 2106.05237, section 3). Running the teacher each time costs more than the student; its answers for a few crops of
each picture are computed once and stored (Shen and Xing, arXiv 2112.01528).
"""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from emo.training.augment import random_boxes

SMALLEST_AREA = 0.25
"""Smallest area of a crop, as a share of the square."""


def view_boxes(count: int, view: int) -> NDArray[np.float32]:
    """The part that view number ``view`` shows of each of ``count`` squares: (count, 4) as x1, y1, x2, y2 in 0..1.

    Number 0 is the whole square; the others are crops of a quarter to all of its area, 3:4 to 4:3.
    """
    if view == 0:
        return np.tile(np.array([0, 0, 1, 1], np.float32), (count, 1))
    boxes: NDArray[np.float32] = random_boxes(count, SMALLEST_AREA, torch.Generator().manual_seed(view)).numpy()
    return boxes


def cut_view(picture: Image.Image, box: NDArray[np.float32], width: int, height: int) -> NDArray[np.uint8]:
    """That part of the centre square of an RGB picture, (height, width, 3)."""
    short = min(picture.size)
    corner = np.array([(picture.width - short) / 2, (picture.height - short) / 2] * 2)
    part = tuple((corner + box * short).tolist())
    return np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC, box=part, reducing_gap=3.0))
