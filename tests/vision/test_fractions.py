"""decode() gives large JPEGs at a fraction of their size where that is enough."""

import numpy as np
import pytest

from emo_serve.errors import ImageTooLarge, InvalidRequest
from emo_serve.vision.image import ImageLimits, decode
from emo_serve.vision.results import ImageSize
from tests.vision.files import encoded, lossless_jpeg, photo, with_scans
from tests.vision.pixels import mean_difference, shown

LIMITS = ImageLimits()


def outcome(data: bytes, least_side: int | None) -> object:
    """Outcome of decoding: the size of the picture, or the kind of error."""
    try:
        return decode(data, LIMITS, least_side).size
    except InvalidRequest as error:
        return type(error)


@pytest.mark.parametrize(
    ("width", "height", "least_side", "scale"),
    [
        (640, 480, 512, 1),
        (640, 480, 241, 1),
        (640, 480, 240, 2),
        (480, 640, 121, 2),
        (640, 480, 120, 4),
        (640, 480, 60, 8),
        (640, 480, 1, 8),
        (641, 483, 121, 2),  # the last row would be one of three full ones
        (641, 483, 120, 4),
        (9, 9, 1, 8),
        (7, 2000, 1, 4),
        (1, 1, 1, 1),
    ],
)
def test_a_jpeg_is_decoded_as_small_as_both_sides_allow(width: int, height: int, least_side: int, scale: int) -> None:
    for options in ({}, {"progressive": True}, {"subsampling": 0}):
        picture = decode(encoded(photo(width, height), "JPEG", **options), LIMITS, least_side)
        assert picture.scale == scale
        assert picture.pixels.size == (-(-width // scale), -(-height // scale))
        assert picture.size == ImageSize(width, height)


@pytest.mark.parametrize("mode", ["L", "CMYK", "YCbCr"])
def test_every_mode_can_be_decoded_at_a_fraction(mode: str) -> None:
    picture = decode(encoded(photo(800, 600).convert(mode), "JPEG"), LIMITS, 70)
    wanted = photo(800, 600).convert(mode).convert("RGB").reduce(8)
    assert picture.scale == 8
    assert mean_difference(np.asarray(picture.pixels), np.asarray(wanted)) < 3


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_other_formats_are_always_decoded_at_full_size(image_format: str) -> None:
    data = encoded(photo(640, 480), image_format)
    picture = decode(data, LIMITS, 1)
    assert picture.scale == 1
    np.testing.assert_array_equal(np.asarray(picture.upright()), shown(data))


def test_a_lossless_jpeg_which_has_no_fractions_is_decoded_at_full_size() -> None:
    picture = decode(lossless_jpeg(80, 64), LIMITS, 1)
    assert (picture.scale, picture.pixels.size) == (1, (80, 64))


def test_the_limits_are_those_of_the_whole_image() -> None:
    data = encoded(photo(640, 480), "JPEG")
    with pytest.raises(ImageTooLarge, match="640x480 = 307200 pixels; allowed are 307199"):
        decode(data, ImageLimits(max_pixels=640 * 480 - 1), 1)
    data = with_scans(encoded(photo(640, 480), "JPEG", progressive=True), 21)
    with pytest.raises(ImageTooLarge, match="21 scans; allowed are 20"):
        decode(data, ImageLimits(max_pixels=640 * 480), 1)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_a_broken_jpeg_is_judged_alike_at_every_size(options: dict[str, object]) -> None:
    good = encoded(photo(160, 120), "JPEG", **options)
    random = np.random.default_rng(3)
    files = [good[:end] for end in (*range(2, len(good), 40), *range(len(good) - 12, len(good)))]
    for _ in range(150):
        flipped = bytearray(good)
        for place in random.integers(0, len(good), 3):
            flipped[place] ^= 1 << random.integers(0, 8)
        files.append(bytes(flipped))
    for data in files:
        assert outcome(data, None) == outcome(data, 8)
