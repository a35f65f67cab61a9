"""What the first directory of a TIFF says, read in bounded time before any decoder sees it."""

import struct
from typing import NamedTuple

from app.errors import ImageTooLarge, ImageUndecodable, UnsupportedMediaType

MAX_TIFF_ENTRIES = 512
MAX_TIFF_VALUES = 32_768
MAX_TIFF_STRIP_BYTES = 64 * 1024 * 1024

_WIDTH, _HEIGHT, _COMPRESSION = 256, 257, 259
_STRIP_BYTES, _TILE_WIDTH, _TILE_HEIGHT, _TILE_BYTES = 279, 322, 323, 325
_POINTERS = (34665, 34853, 40965)  # to the Exif, GPS and interoperability directories
_SHORT, _LONG = 3, 4
_BYTE_TYPES = (1, 2, 6, 7)
_COMPRESSIONS = {
    1: "none",
    5: "LZW",
    8: "Deflate",
    32773: "PackBits",
    32946: "Deflate",
}  # no JPEG, which would bring its scans along; no fax codings, whose decoder complains to stderr about every line


class _Entry(NamedTuple):
    """Type, number of values, and where the four bytes are that hold them or their place."""

    kind: int
    values: int
    position: int


def read_tiff_size(data: bytes) -> tuple[int, int]:
    """(width, height) of all that is decoded: the picture, filled up to whole tiles; zeros where they are not stated.

    Checks the first directory and the metadata it points to; further pictures are never read. Raises ImageTooLarge,
    ImageUndecodable, or UnsupportedMediaType for a compression that is not allowed.
    """
    order = "<" if data.startswith(b"II") else ">"
    offset = struct.unpack_from(order + "I", data.ljust(8, b"\0"), 4)[0]
    tags = _read_directory(data, offset, order)
    for tag in _POINTERS:
        if tag in tags:
            _read_directory(data, struct.unpack_from(order + "I", data, tags[tag].position)[0], order)
    compression = _integer(data, tags, _COMPRESSION, order, 1)
    if compression not in _COMPRESSIONS:
        allowed = ", ".join(dict.fromkeys(_COMPRESSIONS.values()))
        msg = f"The TIFF image uses a compression (number {compression}) that is not supported; allowed are {allowed}."
        raise UnsupportedMediaType(msg)
    for tag in (_STRIP_BYTES, _TILE_BYTES):
        _check_strips(data, tags, tag, order)
    sides = zip((_WIDTH, _HEIGHT), (_TILE_WIDTH, _TILE_HEIGHT), strict=True)
    width, height = (
        _filled_up(_integer(data, tags, side, order, 0), _integer(data, tags, tile, order, 0)) for side, tile in sides
    )
    return width, height


def _filled_up(side: int, tile: int) -> int:
    """The side as whole tiles; as it is where there are none."""
    return -(-side // tile) * tile if tile else side


def _read_directory(data: bytes, offset: int, order: str) -> dict[int, _Entry]:
    """Tag -> the first entry for it, which is the one that decoders keep; raises ImageTooLarge for too many."""
    tags: dict[int, _Entry] = {}
    if offset + 2 > len(data):
        return tags
    entries = struct.unpack_from(order + "H", data, offset)[0]
    if entries > MAX_TIFF_ENTRIES:
        msg = f"The TIFF image has a directory of {entries} entries; allowed are {MAX_TIFF_ENTRIES}."
        raise ImageTooLarge(msg)
    for start in range(offset + 2, min(offset + 2 + 12 * entries, len(data) - 11), 12):
        tag, kind, count = struct.unpack_from(order + "HHI", data, start)
        if count > MAX_TIFF_VALUES and kind not in _BYTE_TYPES:
            msg = f"The TIFF image has {count} values for tag {tag}; allowed are {MAX_TIFF_VALUES}."
            raise ImageTooLarge(msg)
        tags.setdefault(tag, _Entry(kind, count, start + 8))
    return tags


def _integer(data: bytes, tags: dict[int, _Entry], tag: int, order: str, default: int) -> int:
    """The one number of a tag. Decoders also take other types, and the first of several; whoever writes that hides."""
    entry = tags.get(tag)
    if entry is None:
        return default
    if entry.values != 1 or entry.kind not in (_SHORT, _LONG):
        msg = f"The TIFF image is broken: tag {tag} is not one SHORT or LONG."
        raise ImageUndecodable(msg)
    return int(struct.unpack_from(order + ("H" if entry.kind == _SHORT else "I"), data, entry.position)[0])


def _check_strips(data: bytes, tags: dict[int, _Entry], tag: int, order: str) -> None:
    """Refuse strips or tiles that share their bytes: a small file could have the decoder read gigabytes."""
    entry = tags.get(tag)
    if entry is None:
        return
    if entry.kind not in (_SHORT, _LONG):
        msg = f"The TIFF image is broken: tag {tag} is neither SHORT nor LONG."
        raise ImageUndecodable(msg)
    values = f"{order}{entry.values}{'H' if entry.kind == _SHORT else 'I'}"
    start = entry.position
    if struct.calcsize(values) > 4:
        start = struct.unpack_from(order + "I", data, start)[0]
    if start + struct.calcsize(values) > len(data):
        msg = f"The TIFF image is truncated or broken: the values of tag {tag} are not there."
        raise ImageUndecodable(msg)
    total = sum(struct.unpack_from(values, data, start))
    if total > MAX_TIFF_STRIP_BYTES:
        msg = f"The TIFF image has strips or tiles of {total} bytes; allowed are {MAX_TIFF_STRIP_BYTES}."
        raise ImageTooLarge(msg)
