"""What an encoded image says about itself, read in bounded time before any decoder sees it.

Pixel limits do not catch every expensive file: a progressive JPEG of 58 kB with thousands of scans, a PNG with
thousands of compressed profiles or a TIFF with millions of strips keep a decoder busy for seconds. Each reader below
walks the structure of one format, refuses what no camera and no program writes, and leaves all else to the decoder.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from app.errors import ImageTooLarge, ImageUndecodable, UnsupportedMediaType
from app.vision.tiff import read_tiff_size

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

MAX_JPEG_SEGMENTS = 5_000
MAX_JPEG_JUNK_BYTES = 65_536
MAX_JPEG_TABLE_BYTES = 65_536
MAX_PNG_CHUNKS = 50_000
MAX_PNG_COMPRESSED = 16
MAX_GIF_BLOCKS = 50_000
MAX_RLE_BMP_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class Header:
    """The format and what decoding it will take.

    ``data`` is what the decoder shall see, ``exif`` a block that was taken out of it (empty when none was), ``scans``
    how often the decoder passes over the pixels, ``scalable`` whether it can give a fraction of them at less cost,
    ``size`` (width, height) where the decoder must not be made before it is known; a TIFF's counts all of its tiles.
    """

    format: str
    data: bytes
    exif: bytes = b""
    scans: int = 1
    scalable: bool = False
    size: tuple[int, int] | None = None


def read_header(data: bytes) -> Header:
    """The header of ``data``, whose content alone decides the format.

    Raises UnsupportedMediaType for anything but an image of an allowed format, ImageTooLarge and ImageUndecodable for a
    structure outside the limits above.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return _read_jpeg(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _read_png(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _read_webp(data)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return _read_gif(data)
    if data.startswith(b"BM"):
        return _read_bmp(data)
    if data.startswith((b"II*\0", b"MM\0*")):
        return Header("TIFF", data, size=read_tiff_size(data))
    msg = f"The data is not an image of an allowed format; allowed are {', '.join(FORMATS)}."
    raise UnsupportedMediaType(msg)


# Before the first scan every marker counts. Inside one, FF 00 is data and FF D0..D7 a restart.
_MARKER = re.compile(rb"\xff[\x01-\xfe]")
_MARKER_AFTER_SCAN = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")
_SOS, _EOI, _APP1, _ADOBE = 0xDA, 0xD9, 0xE1, 0xEE
_DQT = 0xDB
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = frozenset({0xC0, 0xC1})
_UNSCALABLE = frozenset({0xC3, 0xC5, 0xC6, 0xC7})  # lossless frames, and those of several layers
_ARITHMETIC_CODING = frozenset({0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_BARE = frozenset(range(0x01, 0xC0)) | {0xC8} | frozenset(range(0xD0, 0xDA)) | frozenset(range(0xF0, 0xFE))
_EMPTY_COMMENT = b"\xff\xfe\0\2"  # a JPEG must go on with a marker where a block was cut out before junk
_XMP = b"http://ns.adobe.com/xap/1.0/\0"


class _Segment(NamedTuple):
    """A JPEG marker with its payload, in ``data[start:end]``."""

    marker: int
    payload: bytes
    start: int
    end: int


def _read_jpeg(data: bytes) -> Header:
    """Count the scans; leave out metadata the pixels do not need, so that a broken block cannot fail a good picture."""
    kept: list[bytes] = []
    exif: list[bytes] = []
    done = scans = tables = 0  # data[:done] is dealt with
    scalable = True
    frames: list[_Segment] = []
    for segment in _jpeg_segments(data):
        if segment.marker in _ARITHMETIC_CODING:
            msg = "The JPEG image uses arithmetic coding, which is not supported; Huffman coding is."
            raise UnsupportedMediaType(msg)
        scalable = scalable and segment.marker not in _UNSCALABLE
        if segment.marker in _FRAMES:
            frames.append(segment)
        scans += segment.marker == _SOS
        if segment.marker == _SOS and _has_one_scan(frames, segment):
            break  # to look through all of its data takes a thirtieth of the time that decoding it does
        if segment.marker == _DQT or segment.marker in _FRAMES:
            tables += len(segment.payload)
        if tables > MAX_JPEG_TABLE_BYTES:  # Pillow reads them in Python
            msg = f"The JPEG image is broken: its frame and quantization tables have over {MAX_JPEG_TABLE_BYTES} bytes."
            raise ImageUndecodable(msg)
        if not scans and _is_dispensable(segment):
            kept.append(data[done : segment.start])
            done = segment.end
            if segment.marker == _APP1 and segment.payload.startswith(b"Exif\0\0"):
                exif.append(segment.payload[6:] if exif else segment.payload)
    if kept:
        kept[0] += _EMPTY_COMMENT
    kept.append(data[done:])
    return Header("JPEG", b"".join(kept), b"".join(exif), max(scans, 1), scalable)


def _jpeg_segments(data: bytes) -> Iterator[_Segment]:
    """Every segment with a payload up to the end of the picture; where it is broken the decoder words it better."""
    position, junk, in_scans = 2, 0, False
    for _ in range(MAX_JPEG_SEGMENTS):
        match = (_MARKER_AFTER_SCAN if in_scans else _MARKER).search(data, position)
        if match is None:
            return
        junk += 0 if in_scans else match.start() - position
        if junk > MAX_JPEG_JUNK_BYTES:
            msg = f"The JPEG image is broken: more than {MAX_JPEG_JUNK_BYTES} bytes of its header have no meaning."
            raise ImageUndecodable(msg)
        position = match.end()
        marker = data[position - 1]
        if marker == _EOI and in_scans:  # before the first scan the decoder goes on behind it
            return
        if marker in _BARE:
            continue
        # A length below its own two bytes is broken, but the decoder goes on behind those.
        end = position + max(2, int.from_bytes(data[position : position + 2], "big"))
        if end > len(data):
            return
        yield _Segment(marker, data[position + 2 : end], match.start(), end)
        position = end
        in_scans = in_scans or marker == _SOS
    msg = f"The JPEG image has more than {MAX_JPEG_SEGMENTS} segments, which would take too long to decode."
    raise ImageTooLarge(msg)


def _has_one_scan(frames: list[_Segment], scan: _Segment) -> bool:
    """Whether this first scan holds all components of a sequential picture: the decoder reads no other then."""
    if len(frames) != 1 or frames[0].marker not in _SEQUENTIAL:
        return False
    components, in_scan = frames[0].payload[5:6], scan.payload[:1]
    return b"\0" < components <= in_scan


def _is_dispensable(segment: _Segment) -> bool:
    """Application data other than JFIF, Adobe's colour transform and XMP, which may hold the orientation."""
    is_application = _APP1 <= segment.marker <= 0xEF and segment.marker != _ADOBE
    return is_application and not segment.payload.startswith(_XMP)


_PNG_COMPRESSED = frozenset({b"iCCP", b"zTXt", b"iTXt"})  # each may unpack to a megabyte


def _read_png(data: bytes) -> Header:
    position, compressed = 8, 0
    for _ in range(MAX_PNG_CHUNKS):
        if position + 8 > len(data):
            return Header("PNG", data)
        length, kind = struct.unpack_from(">I4s", data, position)
        position += 12 + length
        compressed += kind in _PNG_COMPRESSED
        if compressed > MAX_PNG_COMPRESSED:
            msg = f"The PNG image has more than {MAX_PNG_COMPRESSED} colour profiles and compressed texts."
            raise ImageTooLarge(msg)
    msg = f"The PNG image has more than {MAX_PNG_CHUNKS} chunks, which would take too long to decode."
    raise ImageTooLarge(msg)


def _read_webp(data: bytes) -> Header:
    promised = int.from_bytes(data[4:8], "little") + 8
    if len(data) < promised:
        msg = f"The WEBP image is truncated: its header promises {promised} bytes, {len(data)} are there."
        raise ImageUndecodable(msg)
    size = None
    head = data[:30].ljust(30, b"\0")
    if head[12:16] == b"VP8X":
        size = int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    elif head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        size = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif head[12:16] == b"VP8 ":
        size = int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    return Header("WEBP", data, size=size)


def _read_gif(data: bytes) -> Header:
    """Walk the extensions before the first picture; what follows it is never read."""
    flags = data[10] if len(data) > 10 else 0
    position = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    blocks = 0
    while data[position : position + 1] == b"!":
        position += 2
        while position < len(data):
            blocks += 1
            if blocks > MAX_GIF_BLOCKS:
                msg = f"The GIF image has more than {MAX_GIF_BLOCKS} blocks before its first picture."
                raise ImageTooLarge(msg)
            length = data[position]
            position += 1 + length
            if length == 0:
                break
    return Header("GIF", data)


def _read_bmp(data: bytes) -> Header:
    is_run_length_coded = data[30:34] in (b"\1\0\0\0", b"\2\0\0\0")
    if is_run_length_coded and len(data) > MAX_RLE_BMP_BYTES:
        msg = f"The BMP image is run-length coded and has {len(data)} bytes; allowed are {MAX_RLE_BMP_BYTES}."
        raise ImageTooLarge(msg)
    return Header("BMP", data)
