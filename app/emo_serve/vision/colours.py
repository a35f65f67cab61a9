"""Colour profiles (ICC): which pictures need a conversion, and the conversion to sRGB.

Networks are trained on sRGB. A picture of another colour space (Display P3 of phones, Adobe RGB of cameras, CMYK for
printing) is converted; one whose profile equals sRGB, or is unreadable, is left unchanged.
"""

import functools
import io
import struct
from collections.abc import Mapping

from PIL import Image as PillowImage
from PIL import ImageCms

MAX_PROFILE_BYTES = 3 * 1024 * 1024

_HEADER, _TAG = 128, 12  # bytes
_MAX_TAGS = 100
_DEVICES = (b"mntr", b"scnr", b"prtr", b"spac")
_MODES: Mapping[bytes, str] = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
_SRGB = ((b"rXYZ", (0.4361, 0.2225, 0.0139)), (b"gXYZ", (0.3851, 0.7169, 0.0971)), (b"bXYZ", (0.1431, 0.0606, 0.7141)))
_SRGB_CURVE = ((0.02, 0.00155), (0.1, 0.01002), (0.3, 0.07324), (0.5, 0.21404), (0.8, 0.60383))
_SAME_COLOUR, _SAME_LIGHT = 0.003, 0.0015


@functools.lru_cache(maxsize=4)
def needed_profile(profile: bytes, mode: str) -> bytes:
    """The profile if pixels of ``mode`` have to be converted by it, otherwise empty.

    ``mode`` is that of the stored pixels, "L", "RGB" or "CMYK". An RGB profile also applies to grey pixels.
    """
    if not _HEADER < len(profile) <= MAX_PROFILE_BYTES or profile[36:40] != b"acsp" or profile[12:16] not in _DEVICES:
        return b""
    space = _MODES.get(profile[16:20])
    if space != mode and (space, mode) != ("RGB", "L"):
        return b""
    tags = _tags(profile)
    if not tags or (space == "RGB" and _is_srgb(profile, tags)):
        return b""
    return profile


def to_srgb(image: PillowImage.Image, profile: bytes) -> PillowImage.Image:
    """An RGB or CMYK image as sRGB; unchanged if the profile is broken.

    A grey profile is applied to the first of three equal channels.
    """
    mode = _MODES[profile[16:20]]
    try:
        transform = _transform(profile, mode)
        return ImageCms.applyTransform(image.getchannel(0) if mode == "L" else image, transform) or image
    except Exception:  # noqa: BLE001  a broken profile must not fail a good picture
        return image.convert("RGB")


@functools.lru_cache(maxsize=4)  # building one takes as long as decoding a photo, and most photos share a profile
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")


def _tags(profile: bytes) -> dict[bytes, tuple[int, int]]:
    """Name -> (offset, length); empty if the table is broken, or a tag is a program instead of a table of values."""
    count = int.from_bytes(profile[_HEADER : _HEADER + 4], "big")
    if count > _MAX_TAGS or len(profile) < _HEADER + 4 + _TAG * count:
        return {}
    table = struct.iter_unpack(">4sII", profile[_HEADER + 4 : _HEADER + 4 + _TAG * count])
    tags = {name: (place, length) for name, place, length in table}
    programs = any(profile[place : place + 4] == b"mpet" for place, _ in tags.values())
    return {} if programs else tags


def _is_srgb(profile: bytes, tags: Mapping[bytes, tuple[int, int]]) -> bool:
    """True if the profile equals sRGB up to rounding; by its numbers, since there are many versions."""
    if b"A2B0" in tags:
        return False
    for name, wanted in _SRGB:
        place, length = tags.get(name, (0, 0))
        if length < 20 or profile[place : place + 4] != b"XYZ " or place + 20 > len(profile):
            return False
        given = struct.unpack_from(">3i", profile, place + 8)
        if any(abs(value / 65536 - side) > _SAME_COLOUR for value, side in zip(given, wanted, strict=True)):
            return False
    curves = {tags.get(name, (0, 0)) for name in (b"rTRC", b"gTRC", b"bTRC")}
    try:
        return all(
            abs(_light(profile, place, value) - wanted) < _SAME_LIGHT
            for place, _ in curves
            for value, wanted in _SRGB_CURVE
        )
    except (struct.error, ValueError, ZeroDivisionError, OverflowError):
        return False


def _light(profile: bytes, place: int, value: float) -> float:
    """Value of a tone curve; input and output in 0..1."""
    kind = profile[place : place + 4]
    if kind == b"curv":
        count = struct.unpack_from(">I", profile, place + 8)[0]
        if count <= 1:
            return float(value ** (struct.unpack_from(">H", profile, place + 12)[0] / 256)) if count else value
        entry = struct.unpack_from(">H", profile, place + 12 + 2 * round(value * (count - 1)))[0]
        return float(entry) / 65535
    if kind == b"para" and profile[place + 8 : place + 10] == b"\0\3":
        gamma, a, b, c, d = (number / 65536 for number in struct.unpack_from(">5i", profile, place + 12))
        return float((a * value + b) ** gamma) if value >= d else c * value
    msg = "a curve of another kind"
    raise ValueError(msg)
