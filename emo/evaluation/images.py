"""The pictures of a validation split as encoded files."""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from emo.data.pictures import open_upright
from emo.data.splits import name_in

Rectangle = tuple[int, int, int, int]
"""x, y, width, height in pixels."""


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A picture; ``key`` is its name in the data set, ``rectangle`` its place in the file (None: all of it)."""

    key: str
    path: Path
    rectangle: Rectangle | None = None


@dataclass(frozen=True, slots=True)
class Encoded:
    """The bytes of a picture file."""

    key: str
    data: bytes


def key_of(path: Path, root: Path | None, rectangle: Rectangle | None = None) -> str:
    """The name of a picture in the data set at ``root``, wherever that is; without one its whole path."""
    name = name_in(root, path) if root else path.as_posix()
    return name if rectangle is None else f"{name}#{','.join(map(str, rectangle))}"


def encoded(files: Iterable[PictureFile]) -> Iterator[Encoded]:
    """The bytes of each picture, in order.

    A rectangle of a contact sheet is encoded as lossless PNG; a sheet is decoded once as long as its rectangles are
    consecutive.
    """
    sheet_path, sheet = None, None
    for file in files:
        if file.rectangle is None:
            yield Encoded(file.key, file.path.read_bytes())
            continue
        if file.path != sheet_path or sheet is None:
            sheet_path, sheet = file.path, open_upright(file.path)
        x, y, width, height = file.rectangle
        buffer = io.BytesIO()
        sheet.crop((x, y, x + width, y + height)).save(buffer, "PNG", compress_level=1)
        yield Encoded(file.key, buffer.getvalue())
