"""Picture files of a data set: suffixes, decoding, sizes."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin
from PIL.ExifTags import Base as ExifTag

from emo_serve.errors import ServiceError, UnsupportedMediaType
from emo_serve.picture_files import FORMATS_OF_PHONES
from emo_serve.vision.image import ImageLimits, decode

_LIMITS = ImageLimits(max_bytes=2**30, max_pixels=2**29, max_scans=1000)  # our own files are trusted
_TRIED = 5  # of each kind: one of them may be something else by another name
_NAMED = 5  # of the files that cannot be used
_ON_THEIR_SIDE = range(5, 9)  # orientations of EXIF whose rows are shown as columns


class Sizes(NamedTuple):
    """(width, height) of an upright picture, and as stored, before its EXIF orientation is applied."""

    shown: tuple[int, int]
    stored: tuple[int, int]


def unreadable_kinds(pictures: Iterable[Path]) -> dict[str, str]:
    """Suffixes among them that cannot be decoded with what is installed, each with the reason."""
    reasons: dict[str, str] = {}
    tried: Counter[str] = Counter()
    for path in pictures:
        suffix = path.suffix.lower()
        if suffix not in FORMATS_OF_PHONES or tried[suffix] == _TRIED:
            continue
        try:
            decode(path.read_bytes(), _LIMITS)
        except UnsupportedMediaType as error:
            reasons.setdefault(suffix, str(error).rstrip("."))
            tried[suffix] += 1
            continue
        except ServiceError:
            pass  # a broken file of a readable kind is reported later, with the other broken ones
        reasons.pop(suffix, None)
        tried[suffix] = _TRIED
    return reasons


def open_upright(path: Path, least_side: int | None = None) -> Image.Image:
    """A picture file in RGB as the server decodes it: EXIF orientation applied, transparency on white.

    With a ``least_side`` a JPEG may be decoded at a fraction of its size, with at least that many pixels on both sides.
    Raise OSError or ValueError, which name the file, if it cannot be read.
    """
    try:
        return decode(path.read_bytes(), _LIMITS, least_side).upright()
    except ServiceError as error:
        msg = f"{path}: {error}"
        raise ValueError(msg) from error


def open_rgb(path: Path) -> NDArray[np.uint8]:
    """A picture file as (H, W, 3), see ``open_upright``."""
    return np.asarray(open_upright(path))


def sizes_of(path: Path) -> Sizes:
    """The sizes from the header of a picture file; raise as ``open_upright``."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(ExifTag.Orientation, 1) in _ON_THEIR_SIDE
            turns_itself = isinstance(image, TiffImagePlugin.TiffImageFile)
    except FileNotFoundError:
        raise
    except Exception:  # noqa: BLE001  # the server's own decoder decides what is broken, and why
        size = open_upright(path).size
        return Sizes(size, size)
    across = (height, width)
    if not turned:
        return Sizes((width, height), (width, height))
    return Sizes((width, height), across) if turns_itself else Sizes(across, (width, height))


def check_readable(faults: list[str]) -> None:
    """Raise ValueError, which names the first of them, if there are ``faults``."""
    if faults:
        more = f"; and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        msg = f"{len(faults)} pictures cannot be used, mend or remove them: {'; '.join(faults[:_NAMED])}{more}"
        raise ValueError(msg)
