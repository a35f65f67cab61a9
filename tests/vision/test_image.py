"""decode(): good pictures come out as a person sees them."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image as PillowImage

from emo_serve.vision.image import ImageLimits
from tests.vision.files import (
    cat,
    encoded,
    photo,
    tiff,
)
from tests.vision.pixels import mean_difference, shown

LIMITS = ImageLimits()
# Pillow's warnings are filtered where the decoder is imported; pytest sets its own filters after that.
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin"),
    pytest.mark.filterwarnings("ignore::UserWarning:PIL.PngImagePlugin"),
]


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


@pytest.mark.parametrize("step", [1, 257])
def test_a_palette_of_a_tiff_may_hold_levels_of_eight_bits(step: int) -> None:
    colours = np.random.default_rng(1).integers(0, 256, (256, 3))
    palette = (colours.T * step).astype("<u2").tobytes()
    fields = {256: 256, 257: 1, 258: 8, 259: 1, 262: 3, 273: 0, 277: 1, 278: 1, 279: 256}
    behind = 8 + 2 + 12 * (len(fields) + 1) + 4
    entries = {tag: (4, 1, value) for tag, value in fields.items()} | {320: (3, 768, behind)}
    entries[273] = (4, 1, behind + len(palette))
    np.testing.assert_array_equal(shown(tiff(entries, palette + bytes(range(256)))), colours[None])


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
