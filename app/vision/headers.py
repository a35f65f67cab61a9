"""What an encoded image says about itself, read in bounded time before any decoder sees it.

Pixel limits do not catch every expensive file: a progressive JPEG of 58 kB with thousands of scans, a PNG with
thousands of compressed profiles or a TIFF with millions of strips keep a decoder busy for seconds. Each reader here, of
``app.vision.jpeg`` and ``app.vision.tiff`` walks the structure of one format, refuses what no camera and no program
writes, and leaves all else to the decoder.
"""

import struct
from typing import NamedTuple

from app.errors import ImageTooLarge, ImageUndecodable, UnsupportedMediaType
from app.vision.tiff import read_tiff_size

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

MAX_PNG_CHUNKS = 50_000
MAX_PNG_COMPRESSED = 16
MAX_GIF_BLOCKS = 50_000
MAX_RLE_BMP_BYTES = 1_048_576


class Header(NamedTuple):
    """The format, and (width, height) where the decoder must not be made before it is known.

    That of a TIFF counts all of its tiles.
    """

    format: str
    size: tuple[int, int] | None = None


def read_header(data: bytes) -> Header:
    """The header of ``data``, which is no JPEG; its content alone decides the format.

    Raises UnsupportedMediaType for anything but an image of an allowed format, ImageTooLarge and ImageUndecodable for a
    structure outside the limits above.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _read_png(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _read_webp(data)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return _read_gif(data)
    if data.startswith(b"BM"):
        return _read_bmp(data)
    if data.startswith((b"II*\0", b"MM\0*")):
        return Header("TIFF", read_tiff_size(data))
    msg = f"The data is not an image of an allowed format; allowed are {', '.join(FORMATS)}."
    raise UnsupportedMediaType(msg)


_PNG_COMPRESSED = frozenset({b"iCCP", b"zTXt", b"iTXt"})  # each may unpack to a megabyte


def _read_png(data: bytes) -> Header:
    position, compressed = 8, 0
    for _ in range(MAX_PNG_CHUNKS):
        if position + 8 > len(data):
            return Header("PNG")
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
    return Header("WEBP", size)


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
    return Header("GIF")


def _read_bmp(data: bytes) -> Header:
    is_run_length_coded = data[30:34] in (b"\1\0\0\0", b"\2\0\0\0")
    if is_run_length_coded and len(data) > MAX_RLE_BMP_BYTES:
        msg = f"The BMP image is run-length coded and has {len(data)} bytes; allowed are {MAX_RLE_BMP_BYTES}."
        raise ImageTooLarge(msg)
    return Header("BMP")
