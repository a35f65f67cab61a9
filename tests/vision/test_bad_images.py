"""decode(): bad pictures end as one of our errors."""

import contextlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image as PillowImage

from emo_serve.errors import ImageTooLarge, ImageUndecodable, InvalidRequest, UnsupportedMediaType
from emo_serve.vision.image import ImageLimits, decode
from emo_serve.vision.sniffing import FORMATS
from tests.vision.files import (
    cat,
    encoded,
    photo,
    png_chunk,
    png_header,
    webp_header,
    with_chunks,
    with_scans,
)
from tests.vision.pixels import shown

LIMITS = ImageLimits()
# Pillow's warnings are filtered where the decoder is imported; pytest sets its own filters after that.
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin"),
    pytest.mark.filterwarnings("ignore::UserWarning:PIL.PngImagePlugin"),
]


def test_nothing_is_an_empty_image() -> None:
    with pytest.raises(ImageUndecodable, match="empty"):
        decode(b"", LIMITS)


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        bytes(4096),
        b"<html></html>",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"%PDF-1.7",
        b"P6 2 2 255 " + bytes(12),
        b"\0\0\x01\0\x01\0",  # ICO
        b"II+\0" + bytes(16),  # BigTIFF
    ],
)
def test_what_is_no_image_of_an_allowed_format_is_refused_with_the_list(data: bytes) -> None:
    with pytest.raises(UnsupportedMediaType, match="allowed are JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF, HEIC"):
        decode(data, LIMITS)


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_refused(image_format: str, part: float) -> None:
    data = encoded(PillowImage.fromarray(cat()), image_format)
    with pytest.raises(ImageUndecodable, match=f"{image_format}.*truncated"):
        decode(data[: int(len(data) * part)], LIMITS)


@pytest.mark.parametrize("image_format", FORMATS)
def test_whatever_the_bytes_nothing_but_our_errors_comes_out(image_format: str) -> None:
    good = encoded(photo(), image_format)
    random = np.random.default_rng(7)
    for _ in range(300):
        data = bytearray(good)
        for place in random.integers(0, min(len(data), 200 if random.random() < 0.7 else len(data)), 4):
            data[place] = random.integers(0, 256)
        with contextlib.suppress(InvalidRequest):
            assert decode(bytes(data), LIMITS).pixels.mode == "RGB"


@pytest.mark.parametrize(
    "head", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"GIF89a", b"BM", b"II*\0"]
)
def test_a_signature_alone_is_refused(head: bytes) -> None:
    for data in (head, head + bytes(64), head + b"\xff" * 64):
        with pytest.raises(InvalidRequest):
            decode(data, LIMITS)


def test_too_many_bytes_are_refused_with_the_limit() -> None:
    data = encoded(photo(), "PNG")
    with pytest.raises(ImageTooLarge, match="has more than the 100 bytes that are allowed"):
        decode(data, ImageLimits(max_bytes=100))


@pytest.mark.parametrize("image_format", FORMATS)
def test_too_many_pixels_are_refused_with_the_limit(image_format: str) -> None:
    data = encoded(photo(), image_format)
    assert shown(data, ImageLimits(max_pixels=64 * 48)).shape == (48, 64, 3)
    with pytest.raises(ImageTooLarge, match="64x48 = 3072 pixels; allowed are 3071"):
        decode(data, ImageLimits(max_pixels=64 * 48 - 1))


@pytest.mark.parametrize(
    "data",
    [
        png_header(50_000, 50_000),
        png_header(2**31 - 1, 2**31 - 1),
        webp_header(16_000, 16_000),
        b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x02\0;",
        encoded(photo(), "BMP")[:18] + b"\xa0\x86\x01\0\xa0\x86\x01\0" + encoded(photo(), "BMP")[26:],
    ],
)
def test_a_bomb_is_refused_by_its_header(data: bytes) -> None:
    with pytest.raises(ImageTooLarge, match=r"too large|allowed are"):
        decode(data, LIMITS)


def test_a_small_jpeg_of_thousands_of_scans_is_refused() -> None:
    data = with_scans(encoded(PillowImage.new("RGB", (1500, 1500)), "JPEG", progressive=True), 3000)
    assert len(data) < 100_000
    with pytest.raises(ImageTooLarge, match="1500x1500 pixels is coded in 3000 scans; allowed are 444"):
        decode(data, LIMITS)


def test_a_usual_progressive_jpeg_passes_at_the_pixel_limit() -> None:
    data = encoded(photo(), "JPEG", progressive=True)
    assert shown(data, ImageLimits(max_pixels=64 * 48)).shape == (48, 64, 3)
    with pytest.raises(ImageTooLarge, match="21 scans; allowed are 20"):
        decode(with_scans(data, 21), ImageLimits(max_pixels=64 * 48))


def test_odd_metadata_makes_no_warning() -> None:
    """In a process of its own, because pytest has its own filters."""
    code = (
        "import sys; from emo_serve.vision.image import ImageLimits, decode;"
        "decode(sys.stdin.buffer.read(), ImageLimits()); assert 'asyncio' not in sys.modules"
    )
    broken = png_chunk(b"acTL", bytes(8)) + png_chunk(b"eXIf", b"II*\0\x08\0\0\0\xff\xff")
    data = with_chunks(encoded(photo(), "PNG"), broken)
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], input=data, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
