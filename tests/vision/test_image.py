"""decode(): good pictures come out as a person sees them, bad ones end as one of our errors."""

import contextlib
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image as PillowImage

from app.errors import ImageTooLarge, ImageUndecodable, InvalidRequest, UnsupportedMediaType
from app.vision.image import ImageLimits, decode
from tests.vision.files import (
    APP1,
    cat,
    encoded,
    exif,
    jpeg_segment,
    photo,
    png_chunk,
    png_header,
    webp_header,
    with_chunks,
    with_scans,
    with_segments,
)
from tests.vision.pixels import mean_difference, shown

LIMITS = ImageLimits()
# Pillow's warnings are filtered where the decoder is imported; pytest sets its own filters after that.
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin"),
    pytest.mark.filterwarnings("ignore::UserWarning:PIL.PngImagePlugin"),
]


# ---- good pictures ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("image_format", "options"), [
    ("PNG", {}),
    ("BMP", {}),
    ("WEBP", {"lossless": True}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"compression": "tiff_adobe_deflate"}),
])  # fmt: skip
def test_lossless_formats_give_the_very_pixels(image_format: str, options: dict[str, object]) -> None:
    pixels = cat()
    image = shown(encoded(PillowImage.fromarray(pixels), image_format, **options))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, pixels)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_gives_nearly_the_pixels(progressive: bool) -> None:
    pixels = cat()
    data = encoded(PillowImage.fromarray(pixels), "JPEG", quality=95, progressive=progressive)
    assert mean_difference(shown(data), pixels) < 2


def test_the_content_decides_the_format_and_bytes_behind_the_picture_do_not_matter() -> None:
    data = encoded(photo(), "PNG") + b"PK\x03\x04 an archive"
    np.testing.assert_array_equal(shown(data), np.asarray(photo()))


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "LAB"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    source = photo() if mode != "LAB" else PillowImage.new("LAB", (4, 3), (128, 128, 128))
    image_format = {"CMYK": "JPEG", "YCbCr": "JPEG"}.get(mode, "TIFF")
    image = shown(encoded(source if mode == "LAB" else source.convert(mode), image_format))
    assert image.shape == (source.height, source.width, 3)
    if mode in ("CMYK", "YCbCr"):
        assert mean_difference(image, np.asarray(photo())) < 5


@pytest.mark.parametrize(
    ("source", "image_format"),
    [
        (PillowImage.new("RGBA", (2, 2), (200, 0, 0, 0)), "PNG"),
        (PillowImage.new("RGBA", (2, 2), (200, 0, 0, 0)), "WEBP"),
        (PillowImage.new("LA", (2, 2), (50, 0)), "PNG"),
    ],
)
def test_transparent_parts_are_white(source: PillowImage.Image, image_format: str) -> None:
    assert (shown(encoded(source, image_format, lossless=True)) == 255).all()


@pytest.mark.parametrize(("mode", "colour"), [("L", 7), ("1", 0), ("RGB", (7, 7, 7))])
def test_a_transparent_colour_is_white(mode: str, colour: int | tuple[int, int, int]) -> None:
    data = encoded(PillowImage.new(mode, (2, 2), colour), "PNG", transparency=colour)
    assert (shown(data) == 255).all()


@pytest.mark.parametrize("image_format", ["PNG", "GIF"])
def test_a_transparent_entry_of_the_palette_is_white(image_format: str) -> None:
    source = PillowImage.new("RGB", (2, 2), (7, 7, 7)).quantize(2)
    assert (shown(encoded(source, image_format, transparency=0)) == 255).all()


def test_half_transparent_red_is_pink() -> None:
    data = encoded(PillowImage.new("RGBA", (1, 1), (255, 0, 0, 128)), "PNG")
    assert shown(data).tolist() == [[[255, 127, 127]]]


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    ramp = PillowImage.fromarray(np.array([[0, 256, 32768, 65535]], np.uint16))
    for image_format in ("PNG", "TIFF"):
        image = shown(encoded(ramp, image_format))
        assert image[0, :, 0].tolist() == [0, 1, 128, 255]
        assert (image[..., 0] == image[..., 2]).all()


@pytest.mark.parametrize(
    ("values", "greys"),
    [
        (np.array([[0, 0.5, 1.0, np.nan]], np.float32), [0, 128, 255, 0]),
        (np.array([[-9, 0, 128, 255]], np.float32), [0, 0, 128, 255]),
        (np.array([[0, 32768, 65535, np.inf]], np.float32), [0, 128, 255, 0]),
        (np.array([[-1, 0, 128, 255]], np.int32), [0, 0, 128, 255]),
        (np.array([[0, 0, 256, 65535]], np.int32), [0, 0, 1, 255]),
    ],
)
def test_deep_greys_are_scaled_by_the_range_that_holds_them(values: np.ndarray, greys: list[int]) -> None:
    assert shown(encoded(PillowImage.fromarray(values), "TIFF"))[0, :, 0].tolist() == greys


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_an_animation_gives_its_first_picture(image_format: str) -> None:
    frames = [PillowImage.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    data = encoded(frames[0], image_format, save_all=True, append_images=frames[1:])
    assert mean_difference(shown(data), np.asarray(frames[0])) < 3


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1)])
def test_extreme_shapes_are_decoded(size: tuple[int, int]) -> None:
    assert shown(encoded(PillowImage.new("RGB", size), "JPEG")).shape == (size[1], size[0], 3)


def test_pictures_decode_in_many_threads_as_they_do_alone() -> None:
    files = [encoded(photo(40 + n, 30), "JPEG") for n in range(8)] * 8
    alone = [shown(data) for data in files]
    start = threading.Barrier(8)

    def run(part: list[bytes]) -> list[np.ndarray]:
        start.wait(10)
        return [shown(data) for data in part]

    with ThreadPoolExecutor(8) as pool:
        together = [image for images in pool.map(run, [files[n * 8 : n * 8 + 8] for n in range(8)]) for image in images]
    assert all((one == other).all() for one, other in zip(alone, together, strict=True))


# ---- orientation -----------------------------------------------------------------------------------------------------

STORED_AS = {
    1: None,
    2: PillowImage.Transpose.FLIP_LEFT_RIGHT,
    3: PillowImage.Transpose.ROTATE_180,
    4: PillowImage.Transpose.FLIP_TOP_BOTTOM,
    5: PillowImage.Transpose.TRANSPOSE,
    6: PillowImage.Transpose.ROTATE_90,
    7: PillowImage.Transpose.TRANSVERSE,
    8: PillowImage.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", STORED_AS)
def test_every_orientation_shows_the_same_upright_picture(image_format: str, orientation: int) -> None:
    turn = STORED_AS[orientation]
    stored = photo() if turn is None else photo().transpose(turn)
    metadata = PillowImage.Exif()
    metadata[0x0112] = orientation
    image = shown(encoded(stored, image_format, exif=metadata))
    assert mean_difference(image, np.asarray(photo())) < 6


def test_the_orientation_is_also_taken_from_xmp() -> None:
    xmp = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    data = with_segments(encoded(photo(), "JPEG"), jpeg_segment(APP1, xmp))
    assert shown(data).shape == (64, 48, 3)


@pytest.mark.parametrize("orientation", [0, 9, 255, 65535])
def test_an_orientation_without_meaning_leaves_the_picture_as_it_is(orientation: int) -> None:
    plain = encoded(photo(), "JPEG")
    data = with_segments(plain, jpeg_segment(APP1, exif(orientation)))
    np.testing.assert_array_equal(shown(data), shown(plain))


@pytest.mark.parametrize(
    "block",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff",
        b"Exif\0\0" + bytes(300),
        b"Exif\0\0" + b"\xff" * 300,
        exif(6)[:-8],
        exif(6, kind=2),
        exif(6, kind=5),
        exif(6, kind=999),
    ],
)
def test_a_broken_exif_block_does_not_fail_a_good_picture(block: bytes) -> None:
    plain = encoded(photo(), "JPEG")
    for data in (
        with_segments(plain, jpeg_segment(APP1, block)),
        with_segments(plain, jpeg_segment(APP1, block), b"junk"),
        with_chunks(encoded(photo(), "PNG"), png_chunk(b"eXIf", block[6:])),
    ):
        assert shown(data).shape == (48, 64, 3)


def test_broken_application_data_does_not_fail_a_good_picture() -> None:
    plain = encoded(photo(), "JPEG")
    data = with_segments(plain, *(jpeg_segment(marker, b"\xff" * 40) for marker in range(0xE1, 0xF0) if marker != 0xEE))
    np.testing.assert_array_equal(shown(data), shown(plain))


# ---- bad input -------------------------------------------------------------------------------------------------------


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
        b"\0\0\0\x1cftypavif",
        b"\0\0\0\x18ftypheic",
        b"II+\0" + bytes(16),  # BigTIFF
    ],
)
def test_what_is_no_image_of_an_allowed_format_is_refused_with_the_list(data: bytes) -> None:
    with pytest.raises(UnsupportedMediaType, match="allowed are JPEG, PNG, WEBP, GIF, BMP, TIFF"):
        decode(data, LIMITS)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_refused(image_format: str, part: float) -> None:
    data = encoded(PillowImage.fromarray(cat()), image_format)
    with pytest.raises(ImageUndecodable, match=f"{image_format}.*truncated"):
        decode(data[: int(len(data) * part)], LIMITS)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
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
    with pytest.raises(ImageTooLarge, match=f"{len(data)} bytes; allowed are 100"):
        decode(data, ImageLimits(max_bytes=100))


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
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
        "import sys; from app.vision.image import ImageLimits, decode;"
        "decode(sys.stdin.buffer.read(), ImageLimits()); assert 'asyncio' not in sys.modules"
    )
    broken = png_chunk(b"acTL", bytes(8)) + png_chunk(b"eXIf", b"II*\0\x08\0\0\0\xff\xff")
    data = with_chunks(encoded(photo(), "PNG"), broken)
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], input=data, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
