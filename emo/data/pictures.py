"""Picture files of a data set: which suffixes they have, how they are opened, how large they are shown."""

import os
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
"""What phones write and not every installation reads."""
PICTURES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".png", ".apng", ".webp", ".bmp", ".dib", ".gif"}
    | {".tif", ".tiff"}
    | _MAYBE
)
"""Suffixes, in lower case."""
_LIMITS = ImageLimits(max_bytes=2**30, max_pixels=2**29, max_scans=1000)  # our own files are trusted
_NAMED = 5  # of the files that cannot be used
_ON_THEIR_SIDE = range(5, 9)  # orientations of EXIF whose rows are shown as columns


class Sizes(NamedTuple):
    """(width, height) of a picture as it is shown, and as it is stored, before its EXIF orientation is applied."""

    shown: tuple[int, int]
    stored: tuple[int, int]


def is_picture(path: Path) -> bool:
    """Whether the name is that of a picture, whatever the file holds."""
    return path.suffix.lower() in PICTURES


def is_hidden(name: str) -> bool:
    """Whether a file or folder is the file system's own business, as what macOS puts into archives."""
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
    first: dict[str, Path] = {}
    for path in pictures:
        if path.suffix.lower() in _MAYBE:
            first.setdefault(path.suffix.lower(), path)
    reasons = {}
    for suffix, path in first.items():
        try:
            decode(path.read_bytes(), _LIMITS)
        except UnsupportedMediaType as error:
            reasons[suffix] = str(error).rstrip(".")
        except ServiceError:
            pass  # a broken file of a kind that is read is named with the other broken ones
    return reasons


def open_upright(path: Path, least_side: int | None = None) -> Image.Image:
    """A picture file in RGB as the server decodes it: turned as EXIF says, transparency on white.

    With a ``least_side`` a JPEG may come at a fraction of its size, with that many pixels on both sides.
    Raise OSError or ValueError, which name the file, when it cannot be read.
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
    """The sizes that the header of a picture file tells; raise as ``open_upright``."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(ExifTag.Orientation, 1) in _ON_THEIR_SIDE
            turns_itself = isinstance(image, TiffImagePlugin.TiffImageFile)
    except FileNotFoundError:
        raise
    except Exception:  # noqa: BLE001  # the server's own decoder decides what is broken, and says how
        size = open_upright(path).size
        return Sizes(size, size)
    across = (height, width)
    if not turned:
        return Sizes((width, height), (width, height))
    return Sizes((width, height), across) if turns_itself else Sizes(across, (width, height))


def check_readable(faults: list[str]) -> None:
    """Raise ValueError, which names the first of them, when there are ``faults``."""
    if faults:
        more = f"; and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        msg = f"{len(faults)} pictures cannot be used, mend or remove them: {'; '.join(faults[:_NAMED])}{more}"
        raise ValueError(msg)
