"""Header checks of encoded images, in bounded time, before any decoder sees them.

Pixel limits do not catch every expensive file: a progressive JPEG of 58 kB with thousands of scans, a PNG with
thousands of compressed profiles or a TIFF with millions of strips keep a decoder busy for seconds. Each reader here
and in the modules of the single formats parses the structure of one, refuses structures that no camera or program
writes, and leaves the rest to the decoder.
"""

from typing import NamedTuple

from emo_serve.errors import ImageTooLarge, ImageUndecodable
from emo_serve.vision.bmp import bmp_profile, check_bmp
from emo_serve.vision.heif import read_heif_size
from emo_serve.vision.png import read_png
from emo_serve.vision.tiff import Tiff, read_tiff

MAX_GIF_BLOCKS = 50_000


class Header(NamedTuple):
    """Input of the decoder, and facts known before decoding.

    ``size`` is (width, height), None if the decoder reports it itself; for a TIFF it covers all of its tiles.
    ``profile`` is the colour profile if the decoder does not read it, ``sample_bytes`` the size of all samples if they
    may be deep, ``tiff`` the pixel layout of a TIFF.
    """

    data: bytes
    size: tuple[int, int] | None = None
    profile: bytes = b""
    sample_bytes: int = 0
    tiff: Tiff | None = None


def read_header(data: bytes, name: str) -> Header:
    """The header of ``data``, an image of the format ``name``, except JPEG.

    Raises ImageTooLarge, ImageUndecodable or UnsupportedMediaType for a structure outside the limits.
    """
    if name == "PNG":
        png = read_png(data)
        return Header(png.data, png.size, png.profile, png.sample_bytes)
    if name == "WEBP":
        return Header(data, _webp_size(data))
    if name == "GIF":
        _check_gif(data)
        return Header(data)
    if name == "BMP":
        check_bmp(data)
        return Header(data, profile=bmp_profile(data))
    if name == "TIFF":
        tiff = read_tiff(data)
        return Header(data, tiff.decoded, tiff.profile, tiff.sample_bytes, tiff)
    return Header(data, read_heif_size(data, name))


def _webp_size(data: bytes) -> tuple[int, int] | None:
    promised = int.from_bytes(data[4:8], "little") + 8
    if len(data) < promised:
        msg = f"The WEBP image is truncated: its header promises {promised} bytes, {len(data)} are there."
        raise ImageUndecodable(msg)
    head = data[:30].ljust(30, b"\0")
    if head[12:16] == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if head[12:16] == b"VP8 ":
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    return None


def _check_gif(data: bytes) -> None:
    """Check the extensions before the first picture; the rest is never read."""
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
