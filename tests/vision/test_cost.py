"""What decoding may cost: the dearest files that were found for each format, in CPU time of this thread.

What is refused is refused before it costs anything; what is accepted costs in proportion to its pixels and bytes:
measured as at most 0.06 seconds for a million pixels and 0.04 for a megabyte. Some of what is refused took minutes.
"""

import struct
import time
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from app.errors import InvalidRequest
from app.vision.image import ImageLimits, decode
from tests.vision.files import (
    EOI,
    SOS,
    encoded,
    jpeg_segment,
    photo,
    png_chunk,
    png_header,
    tiff,
    with_chunks,
    with_scans,
    with_segments,
)

SIDE = 1000
"""Of the pictures that are accepted: a million pixels."""

MOST_SECONDS = 0.5
MOST_SECONDS_A_BYTE = 0.1 / 1_000_000

LIMITS = ImageLimits()


def noise(*shape: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8))


def deep_png() -> bytes:
    """Red, green, blue and alpha of 16 bits, each row predicted from its neighbours."""
    rows = zlib.compress((b"\4" + bytes(range(250)) * (8 * SIDE // 250)) * SIDE)
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 16, 6, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + png_chunk(b"IDAT", rows) + png_chunk(b"IEND")


def most_scans(image: Image.Image, **options: object) -> bytes:
    """As many as are allowed at this size, but no more bytes than that."""
    jpeg = encoded(image, "JPEG", progressive=True, **options)
    last = jpeg.rindex(EOI) - jpeg.rindex(SOS)
    allowed = LIMITS.max_scans * LIMITS.max_pixels // (image.width * image.height)
    segments = 4900  # with those of the head not more than are allowed either
    return with_scans(jpeg, min(allowed, segments, (LIMITS.max_bytes - len(jpeg)) // last))


def repeated_strip(height: int, size: int) -> bytes:
    """A TIFF whose every row is the same strip of so many bytes, their bits in the other order."""
    head = 10 + 12 * 9 + 4
    places, sizes, strip = head, head + 4 * height, head + 8 * height
    entries = {
        256: (4, 1, 8),
        257: (4, 1, height),
        258: (3, 1, 8),
        259: (3, 1, 5),
        262: (3, 1, 1),
        266: (3, 1, 2),
        273: (4, height, places),
        278: (4, 1, 1),
        279: (4, height, sizes),
    }
    tables = struct.pack(f"<{2 * height}I", *[strip] * height, *[size] * height)
    return tiff(entries, tables + bytes(size))


def repeated_tile(width: int, tile: int) -> bytes:
    """A TIFF one pixel high, of tall tiles that are all the same bytes."""
    count = -(-width // tile)
    content = zlib.compress(bytes(tile * tile))
    head = 10 + 12 * 9 + 4
    entries = {
        256: (4, 1, width),
        257: (4, 1, 1),
        258: (3, 1, 8),
        259: (3, 1, 8),
        262: (3, 1, 1),
        322: (4, 1, tile),
        323: (4, 1, tile),
        324: (4, count, head),
        325: (4, count, head + 4 * count),
    }
    tables = struct.pack(f"<{2 * count}I", *[head + 8 * count] * count, *[len(content)] * count)
    return tiff(entries, tables + content)


ACCEPTED: dict[str, Callable[[], bytes]] = {
    "jpeg of noise": lambda: encoded(noise(SIDE, SIDE, 3), "JPEG", quality=100, subsampling=0),
    "jpeg of many scans": lambda: most_scans(photo(SIDE, SIDE), subsampling=0),
    "jpeg of many scans of noise": lambda: most_scans(noise(SIDE, SIDE, 3), subsampling=0, quality=30),
    "jpeg of thousands of scans": lambda: most_scans(noise(100, 100, 3), quality=10),
    "jpeg of many tables": lambda: with_segments(
        encoded(photo(), "JPEG"), *[jpeg_segment(0xDB, (b"\0" + b"\1" * 64) * 1000)] * 300
    ),
    "jpeg of much junk": lambda: with_segments(encoded(photo(), "JPEG"), b"\xff" * 10_000_000),
    "png of 16 bits with alpha": deep_png,
    "png with a transparent colour": lambda: encoded(Image.new("P", (SIDE, SIDE)), "PNG", transparency=0),
    "png of many pieces": lambda: with_chunks(encoded(photo(), "PNG"), png_chunk(b"IDAT") * 49_000),
    "webp, lossless": lambda: encoded(noise(SIDE, SIDE, 4), "WEBP", lossless=True, method=0),
    "webp, lossy": lambda: encoded(noise(SIDE, SIDE, 4), "WEBP", quality=100, method=0),
    "gif": lambda: encoded(noise(SIDE, SIDE).convert("P"), "GIF"),
    "bmp": lambda: encoded(noise(SIDE, SIDE, 3), "BMP"),
    "tiff of floats": lambda: encoded(noise(SIDE, SIDE).convert("F"), "TIFF", compression="tiff_adobe_deflate"),
    "tiff of lab colours": lambda: encoded(Image.new("LAB", (SIDE, SIDE)), "TIFF", compression="tiff_lzw"),
    "tiff of many strips": lambda: encoded(noise(30_000, 30), "TIFF", strip_size=30),
}
REFUSED: dict[str, Callable[[], bytes]] = {
    "jpeg of more scans": lambda: with_scans(encoded(photo(), "JPEG", progressive=True), 6000),
    "jpeg of many frames": lambda: with_segments(
        encoded(photo(), "JPEG"), *[jpeg_segment(0xC0, b"\x08\0\x30\0\x40\3" + bytes(65_000))] * 300
    ),
    "png of many broken texts": lambda: with_chunks(
        encoded(photo(), "PNG"), png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1_000_000))[:-4] + b"oops") * 18_000
    ),
    "png as thin as a hair": lambda: png_header(1, 50_000_000),
    "tiff of strips that are one": lambda: repeated_strip(32_768, 1_000_000),
    "tiff of tiles that are one": lambda: repeated_tile(1_000_000, 4096),
    "tiff of one tile for a pixel": lambda: repeated_tile(1, 10_000),
}


def seconds_to_decode(data: bytes) -> float:
    assert len(data) <= LIMITS.max_bytes
    began = time.thread_time()
    decode(data, LIMITS)
    return time.thread_time() - began


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_million_pixels_take_little_time_however_they_are_coded(name: str) -> None:
    data = ACCEPTED[name]()
    assert seconds_to_decode(data) < MOST_SECONDS + MOST_SECONDS_A_BYTE * len(data)


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_take_long_is_refused_before_it_does(name: str) -> None:
    data = REFUSED[name]()
    began = time.thread_time()
    with pytest.raises(InvalidRequest):
        seconds_to_decode(data)
    assert time.thread_time() - began < 0.25
