"""Decoded pixels, and their distance from the original."""

import numpy as np

from emo_serve.vision.image import ImageLimits, decode


def shown(data: bytes, limits: ImageLimits | None = None) -> np.ndarray:
    """The upright picture, (H, W, 3)."""
    picture = decode(data, limits or ImageLimits())
    pixels = np.asarray(picture.upright())
    assert pixels.shape == (picture.size.height, picture.size.width, 3)
    return pixels


def mean_difference(first: np.ndarray, second: np.ndarray) -> float:
    assert first.shape == second.shape
    return float(np.abs(first.astype(int) - second.astype(int)).mean())
