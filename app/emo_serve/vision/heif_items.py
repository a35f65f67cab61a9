"""Items of a HEIF file (ISO/IEC 23008-12), which AVIF and HEIC are based on: their types and positions.

Read in bounded time before any decoder sees the file.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from emo_serve.errors import ImageTooLarge, ImageUndecodable

MAX_HEIF_ITEMS = 4096
MAX_HEIF_BOXES = 16_384
_TILES, _AUXILIARY = b"dimg", b"auxl"


@dataclass(slots=True)
class Item:
    """One picture or one block of metadata: its type, its size in pixels (zeros if not stated), and its bytes.

    ``shown`` is the visible part of that size, if cropped. ``parts`` are the items it is composed of, in order,
    ``auxiliaries`` the items attached to it, such as transparency. ``configuration`` is the box that configures its
    decoder.
    """

    kind: bytes = b""
    size: tuple[int, int] = (0, 0)
    shown: tuple[int, int] | None = None
    data: bytes = b""
    parts: list[int] = field(default_factory=list)
    auxiliaries: list[int] = field(default_factory=list)
    configuration: bytes = b""


@dataclass(slots=True)
class Items:
    """All items of a file by number, and the number of the primary one; 0 if there is none."""

    primary: int
    items: dict[int, Item]


class _Reader:
    """Reader of consecutive big-endian numbers; raises ImageUndecodable at the end of the data."""

    def __init__(self, data: bytes, start: int, end: int) -> None:
        self._data, self.position, self.end = data, start, end

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def take(self, size: int) -> bytes:
        if self.position + size > self.end:
            msg = "its boxes end too soon"
            raise _broken(msg)
        self.position += size
        return self._data[self.position - size : self.position]


def read_items(data: bytes) -> Items:
    """The items of ``data``; raises ImageTooLarge for too many, ImageUndecodable if they cannot be read."""
    meta = next((box for kind, *box in _boxes(data, 0, len(data)) if kind == b"meta"), None)
    if meta is None:
        return Items(0, {})
    boxes = {kind: (start, end) for kind, start, end in _boxes(data, meta[0] + 4, meta[1])}
    found = Items(0, {})
    if b"pitm" in boxes:
        reader, version = _full_box(data, *boxes[b"pitm"])
        found.primary = reader.number(4 if version else 2)
    if b"iinf" in boxes:
        _read_kinds(data, *boxes[b"iinf"], found.items)
    if b"iref" in boxes:
        _read_references(data, *boxes[b"iref"], found.items)
    if b"iprp" in boxes:
        _read_properties(data, *boxes[b"iprp"], found.items)
    if b"iloc" in boxes:
        _read_places(data, boxes, found.items)
    return found


def _broken(reason: str) -> ImageUndecodable:
    return ImageUndecodable(f"The image cannot be decoded, it is truncated or broken ({reason}).")


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, end) of the content of each box; the last one may extend to the end of the file."""
    for _ in range(MAX_HEIF_BOXES):
        if start + 8 > end:
            return
        length, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if length == 1 and start + 16 <= end:
            length, head = struct.unpack_from(">Q", data, start + 8)[0], 16
        stop = min(start + length, end) if length else end
        if stop < start + head:
            msg = "a box is shorter than its head"
            raise _broken(msg)
        yield kind, start + head, stop
        start = stop
    msg = f"The image has more than {MAX_HEIF_BOXES} boxes."
    raise ImageTooLarge(msg)


def _full_box(data: bytes, start: int, end: int) -> tuple[_Reader, int]:
    reader = _Reader(data, start, end)
    version = reader.number(1)
    reader.number(3)
    return reader, version


def _checked_count(count: int) -> int:
    if count > MAX_HEIF_ITEMS:
        msg = f"The image has {count} items; allowed are {MAX_HEIF_ITEMS}."
        raise ImageTooLarge(msg)
    return count


def _item(items: dict[int, Item], number: int) -> Item:
    _checked_count(len(items))
    return items.setdefault(number, Item())


def _read_kinds(data: bytes, start: int, end: int, items: dict[int, Item]) -> None:
    reader, version = _full_box(data, start, end)
    _checked_count(reader.number(4 if version else 2))
    for kind, first, last in _boxes(data, reader.position, end):
        if kind == b"infe":
            entry, version = _full_box(data, first, last)
            number = entry.number(4 if version > 2 else 2)
            entry.number(2)
            _item(items, number).kind = entry.take(4)


def _read_references(data: bytes, start: int, end: int, items: dict[int, Item]) -> None:
    reader, version = _full_box(data, start, end)
    size = 4 if version else 2
    for kind, first, last in _boxes(data, reader.position, end):
        entry = _Reader(data, first, last)
        source = entry.number(size)
        targets = [entry.number(size) for _ in range(_checked_count(entry.number(2)))]
        if kind == _TILES:
            _item(items, source).parts += targets
            _checked_count(len(items[source].parts))
        elif kind == _AUXILIARY:
            for target in targets:
                _item(items, target).auxiliaries.append(source)


def _read_properties(data: bytes, start: int, end: int, items: dict[int, Item]) -> None:
    properties: list[tuple[bytes, int, int]] = []
    for kind, first, last in _boxes(data, start, end):
        if kind == b"ipco":
            properties = list(_boxes(data, first, last))
        elif kind == b"ipma":
            _read_associations(data, first, last, properties, items)


def _read_associations(
    data: bytes, start: int, end: int, properties: list[tuple[bytes, int, int]], items: dict[int, Item]
) -> None:
    reader, version = _full_box(data, start, end)
    size = 2 if data[start + 3] & 1 else 1
    for _ in range(_checked_count(reader.number(4))):
        item = _item(items, reader.number(4 if version else 2))
        for _ in range(reader.number(1)):
            index = reader.number(size) & (0x7FFF if size == 2 else 0x7F)
            if not 0 < index <= len(properties):
                continue
            kind, first, last = properties[index - 1]
            if kind == b"ispe":
                width, height = struct.unpack(">II", _Reader(data, first + 4, last).take(8))
                item.size = width, height
            elif kind == b"clap":
                sides = struct.unpack(">4I", _Reader(data, first, last).take(16))
                item.shown = sides[0] // max(sides[1], 1), sides[2] // max(sides[3], 1)
            elif kind in (b"hvcC", b"av1C"):
                item.configuration = data[first:last]


def _read_places(data: bytes, boxes: dict[bytes, tuple[int, int]], items: dict[int, Item]) -> None:
    reader, version = _full_box(data, *boxes[b"iloc"])
    sizes = reader.number(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    extents = 0
    for _ in range(_checked_count(reader.number(4 if version > 1 else 2))):
        item = _item(items, reader.number(4 if version > 1 else 2))
        method = reader.number(2) & 15 if version else 0
        elsewhere = reader.number(2)
        base = reader.number(base_size)
        count = reader.number(2)
        extents += count
        _checked_count(extents)
        if method:  # in a box of its own, or relative to other items
            base += boxes.get(b"idat", (len(data), 0))[0]
        parts = []
        for _ in range(count):
            if version:
                reader.number(index_size)
            start = base + reader.number(offset_size)
            length = reader.number(length_size)
            parts.append(data[start : start + length if length else None])
        item.data = b"" if elsewhere or method > 1 else b"".join(parts)
