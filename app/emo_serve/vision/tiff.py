"""The first directory of a TIFF, parsed in bounded time before any decoder sees it."""

import struct
from typing import NamedTuple

from emo_serve.errors import ImageTooLarge, ImageUndecodable, UnsupportedMediaType

MAX_TIFF_ENTRIES = 512
MAX_TIFF_VALUES = 32_768
MAX_TIFF_STRIP_BYTES = 64 * 1024 * 1024

_KIND, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 254, 256, 257, 258, 259, 262, 266
_STRIPS, _ORIENTATION, _SAMPLES, _STRIP_ROWS, _STRIP_BYTES, _PLANAR = 273, 274, 277, 278, 279, 284
_PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = 317, 322, 323, 324, 325
_SUB_PICTURES, _EXTRA_SAMPLES, _SAMPLE_FORMAT, _PROFILE, _DNG = 330, 338, 339, 34675, 50706
_POINTERS = (34665, 34853, 40965)  # to the EXIF, GPS and interoperability directories
_BYTE, _SHORT, _LONG = 1, 3, 4
_LETTERS = {_BYTE: "B", _SHORT: "H", _LONG: "I"}
_BYTE_TYPES = (1, 2, 6, 7)
_COMPRESSIONS = {
    1: "none",
    5: "LZW",
    8: "Deflate",
    32773: "PackBits",
    32946: "Deflate",
}  # no JPEG, with its scans; no fax codings, whose decoder writes to stderr for every line
_IS_PREVIEW = 1  # a bit of the kind
_UNSIGNED, _SIGNED, _FLOAT, _UNDEFINED = 1, 2, 3, 4
_KINDS = {_UNSIGNED: "unsigned integers", _SIGNED: "signed integers", _FLOAT: "floating-point numbers"}


class _Entry(NamedTuple):
    """Type, number of values, and the offset of the four bytes that hold them or their offset."""

    kind: int
    values: int
    position: int


class Tiff(NamedTuple):
    """Storage of the pixels of the first picture; other tags are left out.

    ``tile`` is (width, height) of its tiles, zeros if it consists of strips of ``strip_rows``. ``bits`` is that of
    every sample, 0 if they differ. ``sample_kind`` is a letter as in NumPy: u, i or f. ``extra`` are the kinds of the
    samples behind the colours: 1 and 2 are transparency, that of 1 premultiplied.
    """

    order: str
    width: int
    height: int
    tile: tuple[int, int]
    strip_rows: int
    places: tuple[int, ...]
    lengths: tuple[int, ...]
    compression: int
    predictor: int
    fill_order: int
    photometric: int
    is_planar: bool
    samples: int
    bits: int
    sample_kind: str
    extra: tuple[int, ...]
    orientation: int
    profile: bytes

    @property
    def layout(self) -> str:
        """A description for error messages."""
        bits = self.bits or "different"
        return f"{self.samples} samples a pixel of {bits} bits, photometric interpretation {self.photometric}"

    @property
    def sample_bytes(self) -> int:
        """Bytes of all of its samples."""
        width, height = self.decoded
        return width * height * self.samples * self.bits // 8

    @property
    def decoded(self) -> tuple[int, int]:
        """(width, height) of all decoded pixels: the picture, padded to whole tiles; zeros if not stated."""
        return _filled_up(self.width, self.tile[0]), _filled_up(self.height, self.tile[1])


def read_tiff(data: bytes) -> Tiff:
    """The first picture, checked; further ones are never read.

    Checks the first directory and the metadata it points to. Raises ImageTooLarge, ImageUndecodable, or
    UnsupportedMediaType for a raw photo, and for unsupported compressions or samples.
    """
    order = "<" if data.startswith(b"II") else ">"
    offset = struct.unpack_from(order + "I", data.ljust(8, b"\0"), 4)[0]
    tags = _Directory(data, offset, order)
    for tag in _POINTERS:
        if tag in tags.entries:
            _Directory(data, struct.unpack_from(order + "I", data, tags.entries[tag].position)[0], order)
    if _DNG in tags.entries or (_SUB_PICTURES in tags.entries and tags.number(_KIND, 0) & _IS_PREVIEW):
        msg = "The TIFF image is a raw photo (DNG, NEF or the like), which is not supported; TIFF itself is."
        raise UnsupportedMediaType(msg)
    compression = tags.number(_COMPRESSION, 1)
    if compression not in _COMPRESSIONS:
        allowed = ", ".join(dict.fromkeys(_COMPRESSIONS.values()))
        msg = f"The TIFF image uses a compression (number {compression}) that is not supported; allowed are {allowed}."
        raise UnsupportedMediaType(msg)
    is_tiled = _TILE_WIDTH in tags.entries
    lengths = {tag: tags.numbers(tag) for tag in (_STRIP_BYTES, _TILE_BYTES)}
    total = max(map(sum, lengths.values()))
    if total > MAX_TIFF_STRIP_BYTES:  # strips that share their bytes could make the decoder read gigabytes
        msg = f"The TIFF image has strips or tiles of {total} bytes; allowed are {MAX_TIFF_STRIP_BYTES}."
        raise ImageTooLarge(msg)
    width, height = tags.number(_WIDTH, 0), tags.number(_HEIGHT, 0)
    samples = tags.number(_SAMPLES, 1)
    bits, kind = _sample_type(tags)
    return Tiff(
        order=order,
        width=width,
        height=height,
        tile=(tags.number(_TILE_WIDTH, 0), tags.number(_TILE_HEIGHT, 0)),
        strip_rows=min(tags.number(_STRIP_ROWS, height), height),
        places=tags.numbers(_TILES if is_tiled else _STRIPS),
        lengths=lengths[_TILE_BYTES if is_tiled else _STRIP_BYTES],
        compression=compression,
        predictor=tags.number(_PREDICTOR, 1),
        fill_order=tags.number(_FILL_ORDER, 1),
        photometric=tags.number(_PHOTOMETRIC, 1),
        is_planar=samples > 1 and tags.number(_PLANAR, 1) == 2,
        samples=samples,
        bits=bits,
        sample_kind=kind,
        extra=tags.numbers(_EXTRA_SAMPLES),
        orientation=tags.number(_ORIENTATION, 1),
        profile=tags.content(_PROFILE),
    )


def _filled_up(side: int, tile: int) -> int:
    """The side padded to whole tiles; unchanged without tiles."""
    return -(-side // tile) * tile if tile else side


def _sample_type(tags: "_Directory") -> tuple[int, str]:
    """Bits, 0 if the samples differ in them, and the letter of NumPy."""
    bits, kinds = set(tags.numbers(_BITS)) or {1}, set(tags.numbers(_SAMPLE_FORMAT)) or {_UNSIGNED}
    kinds = {_UNSIGNED if kind == _UNDEFINED else kind for kind in kinds}
    name = " and ".join(_KINDS.get(kind, "complex numbers") for kind in sorted(kinds))
    most = max(bits)
    if most > 32 or len(kinds) > 1 or kinds - set(_KINDS) or (kinds == {_FLOAT} and bits != {32}):
        msg = (
            f"The TIFF image has samples of {most} bits, {name}, which are not supported; allowed are integers of up "
            "to 16 or of 32 bits and floating-point numbers of 32."
        )
        raise UnsupportedMediaType(msg)
    return most if len(bits) == 1 else 0, {_UNSIGNED: "u", _SIGNED: "i", _FLOAT: "f"}[kinds.pop()]


class _Directory:
    """Tag -> its first entry, which is the one that decoders use; raises ImageTooLarge for too many."""

    def __init__(self, data: bytes, offset: int, order: str) -> None:
        self.entries: dict[int, _Entry] = {}
        self._data, self._order = data, order
        if offset + 2 > len(data):
            return
        entries = struct.unpack_from(order + "H", data, offset)[0]
        if entries > MAX_TIFF_ENTRIES:
            msg = f"The TIFF image has a directory of {entries} entries; allowed are {MAX_TIFF_ENTRIES}."
            raise ImageTooLarge(msg)
        for start in range(offset + 2, min(offset + 2 + 12 * entries, len(data) - 11), 12):
            tag, kind, count = struct.unpack_from(order + "HHI", data, start)
            if count > MAX_TIFF_VALUES and kind not in _BYTE_TYPES:
                msg = f"The TIFF image has {count} values for tag {tag}; allowed are {MAX_TIFF_VALUES}."
                raise ImageTooLarge(msg)
            self.entries.setdefault(tag, _Entry(kind, count, start + 8))

    def number(self, tag: int, default: int) -> int:
        """The single number of a tag.

        Decoders also accept other types, and the first of several numbers; such files are refused as suspicious.
        """
        entry = self.entries.get(tag)
        if entry is None:
            return default
        if entry.values != 1 or entry.kind not in (_SHORT, _LONG):
            msg = f"The TIFF image is broken: tag {tag} is not one SHORT or LONG."
            raise ImageUndecodable(msg)
        return self.numbers(tag)[0]

    def numbers(self, tag: int) -> tuple[int, ...]:
        """All numbers of a tag; empty if it is missing."""
        entry = self.entries.get(tag)
        if entry is None:
            return ()
        if entry.kind not in (_SHORT, _LONG):
            msg = f"The TIFF image is broken: tag {tag} is neither SHORT nor LONG."
            raise ImageUndecodable(msg)
        letters = f"{self._order}{entry.values}{_LETTERS[entry.kind]}"
        return struct.unpack(letters, self._read(tag, entry, struct.calcsize(letters)))

    def content(self, tag: int) -> bytes:
        """The bytes of a tag, of any type of bytes; empty if it is missing or out of bounds."""
        entry = self.entries.get(tag)
        if entry is None or entry.kind not in _BYTE_TYPES:
            return b""
        try:
            return self._read(tag, entry, entry.values)
        except ImageUndecodable:
            return b""

    def _read(self, tag: int, entry: _Entry, length: int) -> bytes:
        start = entry.position
        if length > 4:
            start = struct.unpack_from(self._order + "I", self._data, start)[0]
        if start + length > len(self._data):
            msg = f"The TIFF image is truncated or broken: the values of tag {tag} are not there."
            raise ImageUndecodable(msg)
        return self._data[start : start + length]
