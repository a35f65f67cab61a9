"""The dearest files that were found for each format and each of its codings, made byte by byte.

What is refused is refused before it costs anything; what is accepted costs in proportion to its pixels and bytes.
"""

import random
import struct
import time
import timeit
import zlib
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image

from emo_serve.errors import InvalidRequest
from emo_serve.vision.headers import read_header
from emo_serve.vision.heif_items import read_items
from emo_serve.vision.image import ImageLimits, decode
from emo_serve.vision.sniffing import format_of
from tests.vision.files import (
    EOI,
    SOS,
    encoded,
    heif,
    jpeg_segment,
    lossless_jpeg,
    noise,
    photo,
    png_chunk,
    png_header,
    rle_bmp,
    tiff,
    with_chunks,
    with_scans,
    with_segments,
)
from tests.vision.tiffs import tiff_of

SECONDS_A_MEGAPIXEL = 0.06
SECONDS_A_MEGABYTE = 0.04
REFERENCE_SECONDS = 0.033
"""Time of the JPEG of noise on the machine where these were measured."""
REFERENCE_LOOP_SECONDS = 0.0105
"""For the objects of 20,000 pieces of a file."""

SIDE = 1000
"""Of most pictures that are accepted: a million pixels."""

LIMITS = ImageLimits()


def predicted_png(bits: int, colours: int, *, is_interlaced: bool = False, piece: int = 1 << 30) -> bytes:
    """Each pixel predicted from three neighbours, in the way that takes longest; in pieces of so many bytes."""
    samples = {0: 1, 2: 3, 4: 2, 6: 4}[colours]
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows = b""
    for left, top, column, row in passes if is_interlaced else ((0, 0, 1, 1),):
        width, height = -(-(SIDE - left) // column), -(-(SIDE - top) // row)
        rows += (b"\4" + random.Random(bits).randbytes((width * bits * samples + 7) // 8)) * height
    packed = zlib.compress(rows)
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, bits, colours, 0, 0, is_interlaced))
    pieces = b"".join(png_chunk(b"IDAT", packed[n : n + piece]) for n in range(0, len(packed), piece))
    return b"\x89PNG\r\n\x1a\n" + head + pieces + png_chunk(b"IEND")


def most_scans(image: Image.Image, **options: object) -> bytes:
    """A JPEG of as many scans as are allowed at this size, within the limit of bytes."""
    jpeg = encoded(image, "JPEG", progressive=True, **options)
    last = jpeg.rindex(EOI) - jpeg.rindex(SOS)
    allowed = LIMITS.max_scans * LIMITS.max_pixels // (image.width * image.height)
    segments = 4900  # with those of the head not more than are allowed either
    return with_scans(jpeg, min(allowed, segments, (LIMITS.max_bytes - len(jpeg)) // last))


def ends_as_if_cut_off(image: Image.Image, level: int) -> Image.Image:
    """Its last rows of the level that decoders leave where there is no code."""
    pixels = np.array(image)
    pixels[-16:] = level
    return Image.fromarray(pixels)


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


def strips(width: int, height: int, compression: int, *, tile: int = 0) -> bytes:
    """Grey noise in strips of one row, or in tiles."""
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 1), np.uint8)
    return tiff_of(pixels, compression=compression, rows=1, tile=tile)


def deep_planes(compression: int) -> bytes:
    pixels = np.random.default_rng(1).integers(0, 65536, (SIDE, SIDE, 3), np.uint16)
    return tiff_of(
        pixels, 2, compression=compression, is_planar=True, rows=50, predictor=2 if compression in (5, 8) else 1
    )


def hidden_pictures(name: str) -> bytes:
    """One of a million pixels that is coded a hundred times."""
    items = read_items(encoded(Image.new("RGB", (SIDE, SIDE)), name))
    item = items.items[items.primary]
    brand, kind = {"AVIF": (b"avif", b"av01"), "HEIC": (b"heic", b"hvc1")}[name]
    return heif(brand, {1: (kind, item.data * 100, (SIDE, SIDE), item.configuration)})


GREYS = bytes(level for n in range(256) for level in (n, n, 0, 0))
TIFFS: dict[str, Callable[[int], bytes]] = {
    "30,000 strips": partial(strips, 30, 30_000),
    "strips of a pixel": partial(strips, 1, 30_000),
    "tiles": partial(strips, SIDE, SIDE, tile=16),
    "tiles of a pixel": partial(strips, 170, 170, tile=1),
    "deep planes": deep_planes,
}
COMPRESSIONS = {1: "none", 5: "LZW", 8: "Deflate", 32773: "PackBits"}

ACCEPTED: dict[str, Callable[[], bytes]] = {
    "jpeg of noise": lambda: encoded(noise(SIDE, SIDE, 3), "JPEG", quality=100, subsampling=0),
    "jpeg of noise in four inks": lambda: encoded(
        Image.fromarray(np.asarray(noise(SIDE, SIDE, 4)), "CMYK"), "JPEG", quality=100, subsampling=0
    ),
    "jpeg of noise, a marker behind each block": lambda: encoded(
        noise(SIDE, SIDE, 3), "JPEG", quality=100, subsampling=0, restart_marker_blocks=1
    ),
    "jpeg of noise without its end": lambda: encoded(noise(SIDE, SIDE, 3), "JPEG", quality=100, subsampling=0)[:-2],
    "jpeg of noise that ends grey": lambda: encoded(
        ends_as_if_cut_off(noise(SIDE, SIDE, 3), 128), "JPEG", quality=100, subsampling=0
    ),
    "jpeg, lossless": lambda: lossless_jpeg(SIDE, SIDE),
    "jpeg of many scans": lambda: most_scans(photo(SIDE, SIDE), subsampling=0),
    "jpeg of many scans of noise": lambda: most_scans(noise(SIDE, SIDE, 3), subsampling=0, quality=30),
    "jpeg of thousands of scans": lambda: most_scans(noise(100, 100, 3), quality=10),
    "jpeg of many tables": lambda: with_segments(
        encoded(photo(), "JPEG"), *[jpeg_segment(0xDB, (b"\0" + b"\1" * 64) * 1000)] * 300
    ),
    "jpeg of much junk": lambda: with_segments(encoded(photo(), "JPEG"), b"\xff" * 10_000_000),
    **{
        f"png, type {colours} of {bits} bits{', interlaced' * is_interlaced}": partial(
            predicted_png, bits, colours, is_interlaced=is_interlaced
        )
        for bits, colours in ((1, 0), (8, 0), (8, 2), (8, 4), (8, 6), (16, 0), (16, 2), (16, 6))
        for is_interlaced in (False, True)
    },
    "png of noise that ends black": lambda: encoded(ends_as_if_cut_off(noise(SIDE, SIDE, 4), 0), "PNG"),
    "png in tiny pieces": lambda: predicted_png(8, 2, piece=2),
    "png with a transparent colour": lambda: encoded(Image.new("P", (SIDE, SIDE)), "PNG", transparency=0),
    "png of many empty pieces": lambda: with_chunks(encoded(photo(), "PNG"), png_chunk(b"IDAT") * 19_000),
    "png of many broken texts": lambda: with_chunks(
        encoded(photo(), "PNG"), png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1_000_000))[:-4] + b"oops") * 15_000
    ),
    "png of a profile that unpacks to 100 MB": lambda: with_chunks(
        encoded(photo(), "PNG"), png_chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(100_000_000), 1)) * 2
    ),
    "webp, lossless": lambda: encoded(noise(SIDE, SIDE, 4), "WEBP", lossless=True, method=0),
    "webp, lossy": lambda: encoded(noise(SIDE, SIDE, 3), "WEBP", quality=100, method=0),
    "webp, lossy with transparency": lambda: encoded(noise(SIDE, SIDE, 4), "WEBP", quality=100, method=0),
    "webp of many pictures": lambda: encoded(
        noise(SIDE, SIDE, 3), "WEBP", save_all=True, append_images=[noise(SIDE, SIDE, 3)] * 3, quality=50, method=0
    ),
    "gif": lambda: encoded(noise(SIDE, SIDE).convert("P"), "GIF"),
    "gif, interlaced": lambda: encoded(noise(SIDE, SIDE).convert("P"), "GIF", interlace=True),
    "gif of many pictures": lambda: encoded(
        noise(SIDE, SIDE), "GIF", save_all=True, append_images=[noise(SIDE, SIDE)] * 3
    ),
    "bmp": lambda: encoded(noise(SIDE, SIDE, 3), "BMP"),
    "bmp of run lengths, a pixel a row": lambda: rle_bmp(65_535, 762, b"\1\7\0\0" * 762, GREYS),
    "bmp of run lengths of 4 bits, a pixel a row": lambda: rle_bmp(65_535, 762, b"\1\7\0\0" * 762, GREYS, is_rle4=True),
    "bmp of run lengths, a pixel a run": lambda: rle_bmp(SIDE, SIDE, (b"\1\7" * SIDE + b"\0\0") * SIDE, GREYS),
    "bmp of run lengths of 4 bits, a pixel a run": lambda: rle_bmp(
        SIDE, SIDE, (b"\1\7" * SIDE + b"\0\0") * SIDE, GREYS, is_rle4=True
    ),
    "bmp of run lengths, literal": lambda: rle_bmp(SIDE, SIDE, (b"\0\x14" + bytes(20)) * (SIDE * SIDE // 20), GREYS),
    **{
        f"tiff, {name}, {what}": partial(make, number)
        for number, name in COMPRESSIONS.items()
        for what, make in TIFFS.items()
    },
    "tiff of floats": lambda: encoded(noise(SIDE, SIDE).convert("F"), "TIFF", compression="tiff_adobe_deflate"),
    "tiff of lab colours": lambda: encoded(Image.new("LAB", (SIDE, SIDE)), "TIFF", compression="tiff_lzw"),
    "avif of noise": lambda: encoded(noise(SIDE, SIDE, 3), "AVIF", quality=60, speed=10, subsampling="4:4:4"),
    "heic of noise": lambda: encoded(noise(SIDE, SIDE, 3), "HEIC", quality=50),
}
REFUSED: dict[str, Callable[[], bytes]] = {
    "jpeg of more scans": lambda: with_scans(encoded(photo(), "JPEG", progressive=True), 6000),
    "jpeg of many frames": lambda: with_segments(
        encoded(photo(), "JPEG"), *[jpeg_segment(0xC0, b"\x08\0\x30\0\x40\3" + bytes(65_000))] * 300
    ),
    "png as thin as a hair": lambda: png_header(1, 50_000_000),
    "bmp of run lengths in countless pieces": lambda: rle_bmp(SIDE, SIDE, b"\0\2\0\0" * 900_000, GREYS),
    "bmp of run lengths of 4 bits in countless pieces": lambda: rle_bmp(
        SIDE, SIDE, (b"\1\1" * 17 + b"\0\2\0\0") * 100_000, GREYS, is_rle4=True
    ),
    "tiff of strips that are one": lambda: repeated_strip(32_768, 1_000_000),
    "tiff of tiles that are one": lambda: repeated_tile(1_000_000, 4096),
    "tiff of one tile for a pixel": lambda: repeated_tile(1, 8_000),
    "avif of hidden pictures": lambda: hidden_pictures("AVIF"),
    "heic of hidden pictures": lambda: hidden_pictures("HEIC"),
    "avif of too many bytes": lambda: encoded(Image.new("RGB", (SIDE, SIDE)), "AVIF") + bytes(1_000_000),
    "heic of too many bytes": lambda: encoded(Image.new("RGB", (SIDE, SIDE)), "HEIC") + bytes(1_000_000),
}


class Cost(NamedTuple):
    """Cost of a file: CPU seconds, and its pixels and bytes in millions; no pixels where it was refused.

    Pixels of more than four bytes count as often as the limits count them.
    """

    seconds: float
    megapixels: float
    megabytes: float


def cost(data: bytes) -> Cost:
    """That of decoding it, by whichever thread: the decoder of HEIC has its own."""
    assert len(data) <= LIMITS.max_bytes
    began = time.process_time()
    try:
        size = decode(data, LIMITS).size
    except InvalidRequest:
        return Cost(time.process_time() - began, 0, len(data) / 1e6)
    seconds = time.process_time() - began
    name = format_of(data)
    deep = 0 if name == "JPEG" else read_header(data, name).sample_bytes // 4
    return Cost(seconds, max(size.width * size.height, deep) / 1e6, len(data) / 1e6)


class _Piece(NamedTuple):
    length: int
    kind: bytes


def _walk() -> list[_Piece]:
    """What walking through the pieces of a file asks of the interpreter."""
    return [_Piece(*struct.unpack_from(">I4s", b"lengthkind", place % 2)) for place in range(20_000)]


def slowness() -> float:
    """How much slower this machine is now than the one of the figures, in decoding or in Python; at least 1."""
    reference = ACCEPTED["jpeg of noise"]()
    decoding = min(cost(reference).seconds for _ in range(3)) / REFERENCE_SECONDS
    looping = min(timeit.repeat(_walk, timer=time.thread_time, repeat=3, number=1))
    return max(1.0, decoding, looping / REFERENCE_LOOP_SECONDS)
