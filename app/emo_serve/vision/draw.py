"""Drawing of results on images, and image encoding."""

import colorsys
import io
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw

from emo_serve.vision.image import ImageLimits, decode
from emo_serve.vision.results import Classification, Detections, Result, Segmentation
from emo_serve.vision.segment import enlarged
from emo_serve.vision.text import Colour, TextRenderer

_GOLDEN_RATIO = 0.618034
_LINE_PER_SIDE = 1 / 300
_TEXT_PER_SIDE = 1 / 40
_LEAST_TEXT = 12
_ROW_PER_TEXT = 1.5
_OPACITY = 0.5
_NAMED_SHARE = 0.02  # smaller regions would be hidden by their name

PictureType = Literal["image/png", "image/jpeg"]
"""Media types of encoded images."""


def draw_result(
    data: bytes,
    limits: ImageLimits,
    result: Result,
    names: tuple[str, ...],
    media_type: PictureType,
) -> bytes:
    """The encoded image ``data`` with its result drawn on it, encoded again; raises as ``decode``."""
    image = decode(data, limits).upright()
    if isinstance(result, Segmentation):
        page = draw_segmentation(image, result, names)
    elif isinstance(result, Detections):
        page = draw_detections(image, result, names)
    elif isinstance(result, Classification):
        page = draw_classification(image, result, names)
    else:
        raise TypeError(result)
    return encode(page, media_type)


def draw_classification(
    image: PillowImage.Image, classification: Classification, names: tuple[str, ...]
) -> PillowImage.Image:
    """A copy of ``image`` (RGB) with the names of its classes and their scores in percent, best on top, in a corner."""
    page = image.copy()
    draw = ImageDraw.Draw(page)
    size = max(_LEAST_TEXT, round(max(page.size) * _TEXT_PER_SIDE))
    lettering, row = TextRenderer(size), round(size * _ROW_PER_TEXT)
    best = zip(classification.class_ids.tolist(), classification.scores, strict=True)
    for line, (class_id, score) in enumerate(best, 1):
        colour = colour_of(class_id)
        lettering.write(draw, f"{names[class_id]} {score:.0%}", (0, line * row), colour, _ink(colour))
    return page


def draw_detections(image: PillowImage.Image, detections: Detections, names: tuple[str, ...]) -> PillowImage.Image:
    """A copy of ``image`` (RGB) with each box, its class name and its score in percent; one colour a class.

    ``names`` holds the name of every class. Worse boxes are drawn first, so that better ones lie on top.
    """
    page = image.copy()
    draw = ImageDraw.Draw(page)
    side = max(page.size)
    line = max(2, round(side * _LINE_PER_SIDE))
    lettering = TextRenderer(max(_LEAST_TEXT, round(side * _TEXT_PER_SIDE)))
    found = zip(detections.boxes_xyxy.tolist(), detections.class_ids.tolist(), detections.scores.tolist(), strict=True)
    for (left, top, right, bottom), class_id, score in reversed(list(found)):
        colour = colour_of(class_id)
        draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=line)
        lettering.write(draw, f"{names[class_id]} {score:.0%}", (left, top), colour, _ink(colour))
    return page


def draw_segmentation(
    image: PillowImage.Image, segmentation: Segmentation, names: tuple[str, ...]
) -> PillowImage.Image:
    """``image`` (RGB) with an overlay in the colours of its classes, and the names of those that cover 2 % or more."""
    colours = _coloured(segmentation.class_map, len(names)).convert("RGB")
    page = PillowImage.blend(image, colours.resize(image.size, PillowImage.Resampling.NEAREST), _OPACITY)
    draw = ImageDraw.Draw(page)
    lettering = TextRenderer(max(_LEAST_TEXT, round(max(page.size) * _TEXT_PER_SIDE)))
    height, width = segmentation.class_map.shape
    for region in segmentation.regions:
        if region.pixels >= _NAMED_SHARE * page.width * page.height:
            places = np.flatnonzero(segmentation.class_map == region.class_id)
            row, column = divmod(int(places[len(places) // 2]), width)  # a pixel of the region, about in its middle
            corner = (column * page.width / width, row * page.height / height)
            colour = colour_of(region.class_id)
            lettering.write(draw, names[region.class_id], corner, colour, _ink(colour))
    return page


def encode_class_map(segmentation: Segmentation, names: tuple[str, ...]) -> bytes:
    """A PNG file of the image's size whose pixels are class ids, with a palette of the class colours."""
    return encode(_coloured(enlarged(segmentation.class_map, segmentation.image), len(names)), "image/png")


def encode_masks(segmentation: Segmentation) -> list[bytes]:
    """A PNG file of the image's size for each region, in their order: white where the region is, black elsewhere."""
    class_map = enlarged(segmentation.class_map, segmentation.image)
    masks = (np.where(class_map == region.class_id, np.uint8(255), np.uint8(0)) for region in segmentation.regions)
    return [encode(PillowImage.fromarray(mask), "image/png") for mask in masks]


def _coloured(class_map: NDArray[np.uint8], count: int) -> PillowImage.Image:
    page = PillowImage.fromarray(class_map)
    page.putpalette(bytes(value for class_id in range(count) for value in colour_of(class_id)))
    return page


def encode(image: PillowImage.Image, media_type: PictureType) -> bytes:
    """The image as a PNG or JPEG file."""
    buffer = io.BytesIO()
    if media_type == "image/png":
        image.save(buffer, "PNG", compress_level=1)  # higher levels are far slower and hardly smaller
    else:
        image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def colour_of(class_id: int) -> Colour:
    """The colour of a class; neighbouring class ids get distant hues."""
    red, green, blue = colorsys.hsv_to_rgb(class_id * _GOLDEN_RATIO % 1, 0.85, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def _ink(background: Colour) -> str:
    """Black or white, whichever is readable on the background."""
    return "black" if np.dot(background, (0.299, 0.587, 0.114)) > 140 else "white"
