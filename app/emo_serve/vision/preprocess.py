"""A picture -> the network input its manifest describes, and the map between their coordinates."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from emo_serve.manifest import Preprocessing
from emo_serve.vision.picture import Picture
from emo_serve.vision.results import Geometry, ImageSize

_FILTERS = {
    "bilinear": PillowImage.Resampling.BILINEAR,
    "bicubic": PillowImage.Resampling.BICUBIC,
}
# Pixels a side that a JPEG decoded at a fraction must have for each one of the resized picture. Measured: the error is
# then less than half a grey level on average; with 2 pixels, up to a whole one.
_ENOUGH = 2.9


def least_side(rule: Preprocessing) -> int:
    """Pixels that each side of a picture must have so that decoding at a fraction does not degrade the tensor."""
    return math.ceil(_ENOUGH * (rule.resize or max(rule.height, rule.width)))


def preprocess(picture: Picture, rule: Preprocessing) -> tuple[NDArray[np.uint8], Geometry]:
    """The input tensor, (height, width, 3) uint8, for the rule, and its geometry in the image.

    Resizing is Pillow's, antialiased. ``crop`` rounds as torchvision's ``Resize`` and ``CenterCrop`` do: the long side
    becomes ``int(resize * long / short)``, the offset is half of the excess, rounded half to even. Only the visible
    part is resized; the result equals that of resizing all, up to the rounding of grey levels. ``fit`` rounds both
    sides to the nearest pixel.
    """
    geometry = _geometry(picture.size, rule)
    if rule.mode == "fit":
        return _fitted(picture, rule, geometry), geometry
    left, top = -geometry.offset_x / geometry.scale_x, -geometry.offset_y / geometry.scale_y
    # Rounding may reach past the image's edge.
    right = min((rule.width - geometry.offset_x) / geometry.scale_x, picture.size.width)
    bottom = min((rule.height - geometry.offset_y) / geometry.scale_y, picture.size.height)
    tensor = picture.resized((left, top, right, bottom), rule.width, rule.height, _FILTERS[rule.interpolation])
    return tensor, geometry


def _fitted(picture: Picture, rule: Preprocessing, geometry: Geometry) -> NDArray[np.uint8]:
    """The picture in the top left corner; the rest is padding, or the mean, which becomes (almost) zeros."""
    width, height = round(picture.size.width * geometry.scale_x), round(picture.size.height * geometry.scale_y)
    box = (0.0, 0.0, float(picture.size.width), float(picture.size.height))
    grey = rule.mean if rule.padding is None else rule.padding
    tensor = np.full((rule.height, rule.width, 3), np.round(grey), np.uint8)
    tensor[:height, :width] = picture.resized(box, width, height, _FILTERS[rule.interpolation])
    return tensor


def _geometry(image: ImageSize, rule: Preprocessing) -> Geometry:
    width, height = image.width, image.height
    if rule.mode == "fit":
        scale = min(rule.width / width, rule.height / height)
        return Geometry(image, max(1, round(width * scale)) / width, max(1, round(height * scale)) / height)
    if rule.resize is None:
        return Geometry(image, rule.width / width, rule.height / height)
    short = min(width, height)
    resized_width = rule.resize if width == short else int(rule.resize * width / short)
    resized_height = rule.resize if height == short else int(rule.resize * height / short)
    left = round((resized_width - rule.width) / 2)
    top = round((resized_height - rule.height) / 2)
    return Geometry(image, resized_width / width, resized_height / height, float(-left), float(-top))
