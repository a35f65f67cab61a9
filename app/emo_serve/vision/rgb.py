"""Decoded pixels of any mode -> RGB, transparency shown on white."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImagePalette
from PIL.ExifTags import Base as ExifTag
from PIL.TiffImagePlugin import TiffImageFile

from emo_serve.vision.bit_depth import levels_of_16_bits, levels_of_numbers
from emo_serve.vision.colours import needed_profile

_GREYS = ("1", "L", "LA", "La", "I", "F")
_PNG_BITS = 24  # offset of the bits per sample in a PNG


def to_rgb(image: PillowImage.Image, profile: bytes) -> tuple[PillowImage.Image, bytes]:
    """The pixels, RGB, and the profile by which they have to be converted, empty if they are sRGB.

    CMYK pixels with a usable profile are left as they are.
    """
    if not profile:
        return _rgb(image), b""
    is_grey = image.mode in _GREYS or image.mode.startswith("I;16")
    mode = "L" if is_grey else "CMYK" if image.mode == "CMYK" else "LAB" if image.mode == "LAB" else "RGB"
    needed = needed_profile(profile, mode) if isinstance(profile, bytes) else b""
    if needed and mode == "CMYK":
        return image, needed
    return _rgb(image), needed


def mend_transparency(image: PillowImage.Image, png: bytes) -> None:
    """Set the transparent colour of a PNG in the 8-bit levels of Pillow's pixels, whatever the file's depth."""
    colour, bits = image.info.get("transparency"), png[_PNG_BITS]
    if image.mode == "RGB" and bits == 16 and isinstance(colour, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in colour)
    elif image.mode == "L" and bits < 8 and isinstance(colour, int):
        image.info["transparency"] = colour * 255 // (2**bits - 1)


def mend_palette(image: TiffImageFile) -> None:
    """Set a palette of 8-bit levels as it is meant: Pillow takes its numbers for 16-bit ones, which are all black."""
    levels = image.tag_v2.get(ExifTag.ColorMap, ())
    if image.mode == "P" and max(levels, default=0) < 256:
        image.palette = ImagePalette.raw("RGB;L", bytes(levels))


def _rgb(image: PillowImage.Image) -> PillowImage.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return PillowImage.fromarray(_grey_levels(image)).convert("RGB")
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        page = PillowImage.new("RGB", rgba.size, "white")
        page.paste(rgba, mask=rgba)
        return page
    return image if image.mode == "RGB" else image.convert("RGB")


def _grey_levels(image: PillowImage.Image) -> NDArray[np.uint8]:
    """Deep greys as 8 bits, (H, W)."""
    values = np.asarray(image)
    if values.dtype.itemsize != 2:
        return levels_of_numbers(values)
    bits = image.tag_v2.get(ExifTag.BitsPerSample, (16,))[0] if isinstance(image, TiffImageFile) else 16
    levels = levels_of_16_bits(values, bits)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        levels[values == transparent] = 255
    return levels
