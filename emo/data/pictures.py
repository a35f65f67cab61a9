"""Picture files of a data set: suffixes, decoding, sizes."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin
from PIL.ExifTags import Base as ExifTag

from emo_serve.errors import ServiceError, UnsupportedMediaType
from emo_serve.vision.image import ImageLimits, decode

_MAYBE = frozenset({".heic", ".heif", ".hif", ".avif"})
"""Formats of phones that not every installation can read."""
PICTURES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".png", ".apng", ".webp", ".bmp", ".dib", ".gif"}
    | {".tif", ".tiff"}
    | _MAYBE
)
"""Suffixes, in lower case."""
_LIMITS = ImageLimits(max_bytes=2**30, max_pixels=2**29, max_scans=1000)  # our own files are trusted
_TRIED = 5  # of each kind: one of them may be something else by another name
_NAMED = 5  # of the files that cannot be used
_ON_THEIR_SIDE = range(5, 9)  # orientations of EXIF whose rows are shown as columns


class Sizes(NamedTuple):
    """(width, height) of an upright picture, and as stored, before its EXIF orientation is applied."""

    shown: tuple[int, int]
    stored: tuple[int, int]


def is_picture(path: Path) -> bool:
    """True if the name has the suffix of a picture, whatever the content."""
    return path.suffix.lower() in PICTURES


def is_hidden(name: str) -> bool:
    """True for hidden files and metadata of file systems, such as those of macOS in archives."""
    return name.startswith(".") or name in {"__MACOSX", "@eaDir"}


def files_below(folder: Path) -> Iterator[Path]:
    """All files that are not hidden, sub-folders included, in a fixed order; links are followed, each folder once."""
    seen: set[tuple[int, int]] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        status = os.stat(parent)  # noqa: PTH116  # os.walk gives no Path
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        yield from (Path(parent, name) for name in sorted(names) if not is_hidden(name))


def pictures_below(folder: Path) -> Iterator[Path]:
    """The pictures among ``files_below``."""
    return (path for path in files_below(folder) if is_picture(path))


def unreadable_kinds(pictures: Iterable[Path]) -> dict[str, str]:
    """Suffixes among them that cannot be decoded with what is installed, each with the reason."""
    reasons: dict[str, str] = {}
    tried: Counter[str] = Counter()
    for path in pictures:
        suffix = path.suffix.lower()
        if suffix not in _MAYBE or tried[suffix] == _TRIED:
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
