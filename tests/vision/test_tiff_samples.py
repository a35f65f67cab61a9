"""Deep TIFFs look like their 8-bit picture, in whatever layout they are stored."""

import numpy as np
import pytest
from numpy.typing import NDArray

from emo_serve.errors import ImageTooLarge, ImageUndecodable, UnsupportedMediaType
from emo_serve.vision.image import ImageLimits, decode
from tests.vision.files import cat
from tests.vision.pixels import mean_difference, shown
from tests.vision.tiffs import PACKED, tiff_of

PICTURE = cat()[100:145, 150:213]
GREY = PICTURE[..., :1]
INKS = np.concatenate((255 - PICTURE, np.zeros_like(GREY)), axis=2)


def deep(levels: NDArray[np.uint8], kind: str = "u2") -> NDArray[np.generic]:
    """The picture in samples of that type."""
    if kind == "f4":
        return (levels / np.float32(255)).astype(np.float32)
    steps = {"u2": 257, "u4": 16_843_009, "i2": 1, "i4": 257}[kind]
    return (levels.astype(np.uint64) * steps).astype(kind)


def greys(data: bytes) -> NDArray[np.uint8]:
    image = shown(data)
    assert (image[..., 0] == image[..., 1]).all()
    assert (image[..., 0] == image[..., 2]).all()
    return image[..., :1]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["u2", "u4", "i2", "i4", "f4"])
@pytest.mark.parametrize("photometric", [0, 1])
def test_greys_of_every_type_and_both_directions(order: str, kind: str, photometric: int) -> None:
    levels = GREY if photometric else 255 - GREY
    if kind == "i2":
        levels = GREY if photometric else GREY.max() - GREY  # the range is guessed from the values
    image = greys(tiff_of(deep(levels, kind), photometric, order=order))
    assert np.abs(image.astype(int) - GREY).max() <= (255 - int(GREY.max()) if kind == "i2" and not photometric else 1)


@pytest.mark.parametrize("compression", PACKED)
@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize("is_planar", [False, True])
@pytest.mark.parametrize("tile", [0, 16])
@pytest.mark.parametrize("kind", ["u2", "u4"])
def test_colours_in_every_arrangement(compression: int, predictor: int, is_planar: bool, tile: int, kind: str) -> None:
    if compression not in (5, 8):
        predictor = 1  # it belongs to these
    data = tiff_of(deep(PICTURE, kind), 2, compression=compression, predictor=predictor, is_planar=is_planar, tile=tile)
    assert np.abs(shown(data).astype(int) - PICTURE).max() <= 1


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("predictor", [1, 2, 3])
@pytest.mark.parametrize("is_planar", [False, True])
def test_floats_with_every_predictor(order: str, predictor: int, is_planar: bool) -> None:
    data = tiff_of(
        deep(PICTURE, "f4"), 2, order=order, compression=8, predictor=predictor, is_planar=is_planar, tile=16
    )
    np.testing.assert_array_equal(shown(data), PICTURE)


@pytest.mark.parametrize("is_planar", [False, True])
def test_inks(is_planar: bool) -> None:
    assert mean_difference(shown(tiff_of(deep(INKS), 5, is_planar=is_planar)), PICTURE) < 1


@pytest.mark.parametrize("is_planar", [False, True])
@pytest.mark.parametrize("kind", ["u2", "f4"])
@pytest.mark.parametrize("photometric", [0, 1, 2])
@pytest.mark.parametrize("extra", [1, 2])
def test_transparency_is_white(is_planar: bool, kind: str, photometric: int, extra: int) -> None:
    colours = PICTURE if photometric == 2 else GREY
    alpha = np.full_like(GREY, 255)
    alpha[:20] = 0
    alpha[20:30] = 128
    stored = colours if photometric else 255 - colours
    if extra == 1:  # multiplied in; white as 0 cannot be, then
        if photometric == 0:
            return
        stored = (stored.astype(int) * alpha // 255).astype(np.uint8)
    data = tiff_of(
        np.concatenate((deep(stored, kind), deep(alpha, kind)), axis=2),
        photometric,
        is_planar=is_planar,
        extra=(extra,),
    )
    image = shown(data)
    assert (image[:20] == 255).all()
    assert np.abs(image[20:30].astype(int) - (colours[20:30].astype(int) + 255) // 2).max() <= 3
    assert np.abs(image[30:].astype(int) - colours[30:]).max() <= 1


@pytest.mark.parametrize("is_planar", [False, True])
def test_samples_that_mean_nothing_are_passed_over(is_planar: bool) -> None:
    data = tiff_of(deep(np.concatenate((PICTURE, GREY // 2, GREY), axis=2)), 2, is_planar=is_planar, extra=(0, 0))
    np.testing.assert_array_equal(shown(data), PICTURE)


@pytest.mark.parametrize("is_planar", [False, True])
def test_colours_of_eight_bits_in_planes(is_planar: bool) -> None:
    np.testing.assert_array_equal(shown(tiff_of(PICTURE, 2, is_planar=is_planar, compression=8)), PICTURE)


def test_white_is_zero_with_transparency_of_eight_bits() -> None:
    data = tiff_of(np.concatenate((255 - GREY, np.full_like(GREY, 255)), axis=2), 0, extra=(2,))
    np.testing.assert_array_equal(greys(data), GREY)


@pytest.mark.parametrize("tile", [0, 16])
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("extra", [0, 2])
def test_greys_of_eight_bits_in_planes_with_another_sample(tile: int, photometric: int, extra: int) -> None:
    alpha = np.full_like(GREY, 255)
    alpha[:20] = 0
    samples = np.concatenate((GREY if photometric else 255 - GREY, alpha), axis=2)
    image = greys(tiff_of(samples, photometric, is_planar=True, tile=tile, extra=(extra,)))
    np.testing.assert_array_equal(image[20:], GREY[20:])
    np.testing.assert_array_equal(image[:20], 255 if extra else GREY[:20])


def test_negative_numbers_and_what_is_no_number_are_black() -> None:
    floats = np.array([[[0.5], [1.0], [np.nan], [np.inf], [-3.0], [-np.inf]]], np.float32)
    assert greys(tiff_of(floats)).ravel().tolist() == [128, 255, 0, 0, 0, 0]
    for kind in (np.int8, np.int16, np.int32):
        assert greys(tiff_of(np.array([[[-5], [0], [100]]], kind))).ravel().tolist() == [0, 0, 100]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_deep_tiff_is_turned_upright(orientation: int) -> None:
    plain, deep_one = (tiff_of(samples, tags={274: orientation}) for samples in (GREY, deep(GREY)))
    np.testing.assert_array_equal(shown(deep_one), shown(plain))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (tiff_of(GREY.astype(np.float64)), "64 bits, floating-point numbers"),
        (tiff_of(GREY.astype(np.float16)), "16 bits, floating-point numbers"),
        (tiff_of(GREY.astype(np.int64)), "64 bits, signed integers"),
        (tiff_of(GREY.astype(np.uint64)), "64 bits, unsigned integers"),
        (tiff_of(PICTURE, 2, extra=(2, 2)), "3 samples a pixel of 8 bits"),
        (tiff_of(np.repeat(GREY, 7, axis=2)), "7 samples a pixel of 8 bits, photometric interpretation 1"),
        (tiff_of(deep(PICTURE), 8), "photometric interpretation 8"),
        (tiff_of(deep(GREY), 32803), "photometric interpretation 32803"),
        (tiff_of(deep(GREY), predictor=1, tags={317: 9}), "number 9"),
        (tiff_of(GREY, tags={50706: 1}), "raw photo"),
        (tiff_of(GREY, tags={254: 1, 330: 8}), "raw photo"),
    ],
)
def test_samples_that_are_not_read_are_named(data: bytes, name: str) -> None:
    with pytest.raises(UnsupportedMediaType, match=f"{name}.*not supported|not supported.*{name}"):
        decode(data, ImageLimits())


def test_deep_samples_count_in_full() -> None:
    data = tiff_of(deep(PICTURE), 2)
    with pytest.raises(ImageTooLarge, match="17010 bytes of samples; allowed are 16000"):
        decode(data, ImageLimits(max_pixels=4000))


@pytest.mark.parametrize("is_planar", [False, True])
@pytest.mark.parametrize("compression", PACKED)
def test_a_deep_tiff_that_is_cut_off_is_refused(is_planar: bool, compression: int) -> None:
    data = tiff_of(deep(PICTURE), 2, compression=compression, is_planar=is_planar)
    for part in (0.3, 0.6, 0.95):
        with pytest.raises(ImageUndecodable):
            decode(data[: int(part * len(data))], ImageLimits())
