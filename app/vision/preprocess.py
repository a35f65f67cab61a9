"""An image -> the network input its manifest describes, and the map between their coordinates."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from app.manifest import Preprocessing
from app.vision.results import Geometry, Image, ImageSize

_FILTERS = {
    "bilinear": PillowImage.Resampling.BILINEAR,
    "bicubic": PillowImage.Resampling.BICUBIC,
}
_RADIUS = {"bilinear": 1.0, "bicubic": 2.0}  # of the filter, in pixels of whichever side is coarser


def preprocess(image: Image, rule: Preprocessing) -> tuple[NDArray[np.uint8], Geometry]:
    """The input tensor, (height, width, 3) uint8 of the rule, and where its pixels lie in the image.

    Resizing is Pillow's, antialiased. ``crop`` rounds as torchvision's ``Resize`` and ``CenterCrop`` do: the long side
    becomes ``int(resize * long / short)``, the offset is half of what is too much, rounded half to even.
    """
    if rule.resize is None:
        return _stretch(image, rule)
    return _crop(image, rule, rule.resize)


def _stretch(image: Image, rule: Preprocessing) -> tuple[NDArray[np.uint8], Geometry]:
    height, width = image.shape[:2]
    resized = PillowImage.fromarray(image).resize((rule.width, rule.height), _FILTERS[rule.interpolation])
    return np.array(resized), Geometry(ImageSize(width, height), rule.width / width, rule.height / height)


def _crop(image: Image, rule: Preprocessing, short_side: int) -> tuple[NDArray[np.uint8], Geometry]:
    """Resize only what stays, columns before rows, so that the result is that of resizing all, within one grey level.

    The picture in between is never larger than the image's height by the width of the crop, however long the image is.
    """
    height, width = image.shape[:2]
    short = min(width, height)
    resized_width = short_side if width == short else int(short_side * width / short)
    resized_height = short_side if height == short else int(short_side * height / short)
    left = round((resized_width - rule.width) / 2)
    top = round((resized_height - rule.height) / 2)
    scale_x, scale_y = resized_width / width, resized_height / height

    # In pixels of the image; rounding may lead past its edge.
    x0, x1 = left / scale_x, min((left + rule.width) / scale_x, width)
    y0, y1 = top / scale_y, min((top + rule.height) / scale_y, height)
    reach = _RADIUS[rule.interpolation] * max(1, 1 / scale_y) + 1
    first, last = max(0, math.floor(y0 - reach)), min(height, math.ceil(y1 + reach))

    filter_ = _FILTERS[rule.interpolation]
    rows = PillowImage.fromarray(image[first:last])
    columns_done = rows.resize((rule.width, rows.height), filter_, (x0, 0, x1, rows.height))
    done = columns_done.resize((rule.width, rule.height), filter_, (0, y0 - first, rule.width, y1 - first))
    return np.array(done), Geometry(ImageSize(width, height), scale_x, scale_y, float(-left), float(-top))
