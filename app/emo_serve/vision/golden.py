"""The golden pair of a manifest: a small picture, and some values of the graph's outputs for it."""

import base64
import io
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from emo_serve.manifest import Golden, GoldenOutput

_VALUES = 48
_TOLERANCES: Mapping[str, float] = MappingProxyType({"boxes": 0.05, "scores": 1e-4, "logits": 1e-3})


def golden_picture() -> NDArray[np.uint8]:
    """A colourful picture (36, 48, 3), always the same: gradients with a bright disc and a dark bar."""
    y, x = np.mgrid[0:36, 0:48]
    picture = np.stack((x * 5, y * 7, 255 - x * 3 - y * 2), -1)
    picture[(x - 30) ** 2 + (y - 14) ** 2 < 81] = (250, 210, 40)
    picture[24:30, 6:26] = (20, 30, 60)
    return picture.clip(0, 255).astype(np.uint8)


def golden_pair(picture: NDArray[np.uint8], answers: Mapping[str, NDArray[np.float32]], looseness: float = 1) -> Golden:
    """The golden pair for a picture (H, W, 3) and the outputs (...) for it as a single image, by name.

    The tolerance is that of float32, times ``looseness``.
    """
    buffer = io.BytesIO()
    PillowImage.fromarray(picture).save(buffer, "PNG", optimize=True)
    return Golden(
        image_png_base64=base64.b64encode(buffer.getvalue()).decode(),
        outputs=tuple(_some_of(name, answer, looseness) for name, answer in answers.items()),
    )


def _some_of(name: str, answer: NDArray[np.float32], looseness: float) -> GoldenOutput:
    """The largest values and as many spread over the rest, to reveal any change of weights or preprocessing."""
    flat = answer.ravel()
    largest = np.argsort(-np.abs(flat))[: _VALUES // 2]
    spread = np.linspace(0, flat.size - 1, _VALUES // 2).astype(int)
    indices = sorted({int(index) for index in (*largest, *spread)})
    return GoldenOutput(
        name=name,
        indices=tuple(indices),
        values=tuple(round(float(flat[index]), 6) for index in indices),
        tolerance=_TOLERANCES[name] * looseness,
    )
