"""The network sees what its manifest says, and boxes find their way back."""

from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PillowImage

from emo_serve.manifest import Preprocessing
from emo_serve.vision.image import ImageLimits, decode
from emo_serve.vision.picture import Picture
from emo_serve.vision.preprocess import least_side, preprocess
from emo_serve.vision.results import Geometry, ImageSize
from tests.vision.files import cat, encoded, photo

FILTERS = {"bilinear": PillowImage.Resampling.BILINEAR, "bicubic": PillowImage.Resampling.BICUBIC}


def crop_rule(
    resize: int, height: int, width: int, interpolation: Literal["bilinear", "bicubic"] = "bicubic"
) -> Preprocessing:
    return Preprocessing(
        mode="crop",
        height=height,
        width=width,
        resize=resize,
        interpolation=interpolation,
        mean=(0, 0, 0),
        std=(1, 1, 1),
    )


def stretch_rule(height: int, width: int) -> Preprocessing:
    return Preprocessing(
        mode="stretch", height=height, width=width, interpolation="bilinear", mean=(0, 0, 0), std=(1, 1, 1)
    )


def fit_rule(height: int, width: int) -> Preprocessing:
    return stretch_rule(height, width).model_copy(update={"mode": "fit", "mean": (123.675, 116.28, 103.53)})


def resize_all_then_crop(image: NDArray[np.uint8], rule: Preprocessing) -> NDArray[np.uint8]:
    assert rule.resize is not None
    height, width = image.shape[:2]
    size = (
        (rule.resize, int(rule.resize * height / width))
        if width <= height
        else (int(rule.resize * width / height), rule.resize)
    )
    resized = PillowImage.fromarray(image).resize(size, FILTERS[rule.interpolation])
    left, top = round((size[0] - rule.width) / 2), round((size[1] - rule.height) / 2)
    return np.asarray(resized.crop((left, top, left + rule.width, top + rule.height)))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("crop", [(256, 224, 224), (128, 128, 128), (64, 33, 50), (600, 512, 512)])
@pytest.mark.parametrize("turned", [False, True])
def test_a_crop_equals_resizing_all_and_cutting(
    interpolation: Literal["bilinear", "bicubic"], crop: tuple[int, int, int], turned: bool
) -> None:
    image = np.ascontiguousarray(cat().swapaxes(0, 1)) if turned else cat()
    rule = crop_rule(*crop, interpolation)
    tensor, _ = preprocess(Picture.of(image), rule)
    assert tensor.shape == (rule.height, rule.width, 3)
    assert tensor.dtype == np.uint8
    difference = tensor.astype(int) - resize_all_then_crop(image, rule)
    # Pillow does rows before columns where that is less work, and both round to whole grey levels.
    assert np.abs(difference).max() <= (2 if turned else 1)
    assert np.abs(difference).mean() < (0.25 if turned else 0.01)
    assert abs(difference.mean()) < 0.02


def test_what_a_picture_leaves_free_is_filled_with_the_padding_else_with_the_mean() -> None:
    image = np.full((30, 60, 3), 7, np.uint8)
    for padding, grey in ((114, [114] * 3), (0, [0] * 3), (None, [124, 116, 104])):
        tensor, geometry = preprocess(Picture.of(image), fit_rule(40, 40).model_copy(update={"padding": padding}))
        assert (tensor[:20] == 7).all()
        assert (tensor[20:] == grey).all()
        assert (geometry.offset_x, geometry.offset_y) == (0, 0)


def test_an_image_of_the_right_size_is_left_as_it_is() -> None:
    image = np.asarray(photo(48, 48))
    for rule in (crop_rule(48, 48, 48), stretch_rule(48, 48), fit_rule(48, 48)):
        tensor, geometry = preprocess(Picture.of(image), rule)
        np.testing.assert_array_equal(tensor, image)
        assert geometry == Geometry(ImageSize(48, 48), 1, 1)


def test_stretching_resizes_both_sides_and_keeps_the_whole_image() -> None:
    image = cat()
    tensor, geometry = preprocess(Picture.of(image), stretch_rule(320, 300))
    wanted = PillowImage.fromarray(image).resize((300, 320), PillowImage.Resampling.BILINEAR)
    difference = np.abs(tensor.astype(int) - np.asarray(wanted))
    assert difference.max() <= 1
    assert difference.mean() < 0.02
    assert geometry == Geometry(ImageSize(451, 300), 300 / 451, 320 / 300)


@pytest.mark.parametrize(("shape", "used"), [((300, 451), (213, 320)), ((451, 300), (256, 170)), ((1, 5000), (1, 320))])
def test_fitting_keeps_the_aspect_ratio_and_fills_up_with_the_mean(
    shape: tuple[int, int], used: tuple[int, int]
) -> None:
    image = np.asarray(PillowImage.fromarray(cat()).resize(shape[::-1]))
    rule = fit_rule(256, 320)
    tensor, geometry = preprocess(Picture.of(image), rule)
    height, width = used
    wanted = PillowImage.fromarray(image).resize((width, height), PillowImage.Resampling.BILINEAR)
    difference = np.abs(tensor[:height, :width].astype(int) - np.asarray(wanted))
    assert difference.max() <= 1
    assert difference.mean() < 0.02
    assert (tensor[height:] == (124, 116, 104)).all()
    assert (tensor[:, width:] == (124, 116, 104)).all()
    assert geometry == Geometry(ImageSize(*shape[::-1]), width / shape[1], height / shape[0])


def test_the_geometry_of_a_crop_is_that_of_the_resized_image() -> None:
    _, geometry = preprocess(Picture.of(cat()), crop_rule(256, 224, 224))
    # 451x300 -> int(256 * 451 / 300) = 384 x 256, 80 and 16 columns and rows of which are cut on either side
    assert geometry == Geometry(ImageSize(451, 300), 384 / 451, 256 / 300, -80, -16)


def test_the_geometry_finds_a_spot_again() -> None:
    image = np.zeros((300, 500, 3), np.uint8)
    image[140:160, 280:300] = 255
    for rule in (crop_rule(120, 100, 110), stretch_rule(90, 200), fit_rule(90, 200)):
        tensor, geometry = preprocess(Picture.of(image), rule)
        rows, columns = np.nonzero(tensor[..., 0] > 127)
        assert (columns.mean() + 0.5 - geometry.offset_x) / geometry.scale_x == pytest.approx(290, abs=2)
        assert (rows.mean() + 0.5 - geometry.offset_y) / geometry.scale_y == pytest.approx(150, abs=2)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (2, 20_000), (223, 225)])
def test_extreme_shapes_need_no_huge_picture_on_the_way(shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 77, np.uint8)
    for rule in (crop_rule(256, 224, 224), stretch_rule(224, 224)):
        tensor, geometry = preprocess(Picture.of(image), rule)
        assert (tensor == 77).all()
        assert geometry.scale_x > 0


def test_the_tensor_is_a_copy_that_may_be_written() -> None:
    picture = Picture.of(np.asarray(photo(48, 48)))
    tensor, _ = preprocess(picture, stretch_rule(48, 48))
    tensor[:] = 0
    assert np.asarray(picture.upright()).any()


def test_a_picture_must_keep_almost_three_times_the_pixels_that_it_is_resized_to() -> None:
    assert least_side(crop_rule(256, 224, 224)) == 743  # 4000x3000 at 1/4 has 750
    assert least_side(stretch_rule(320, 300)) == 928


@pytest.mark.parametrize(("width", "height"), [(1200, 800), (800, 1200), (1033, 1533)])
def test_a_jpeg_decoded_at_a_fraction_gives_nearly_the_same_tensor(width: int, height: int) -> None:
    data = encoded(PillowImage.fromarray(cat()).resize((width, height)), "JPEG", quality=90)
    for rule in (crop_rule(128, 112, 112), stretch_rule(128, 120)):
        full, small = decode(data, ImageLimits()), decode(data, ImageLimits(), least_side(rule))
        assert (full.scale, small.scale) == (1, 2)
        wanted, geometry = preprocess(full, rule)
        tensor, same = preprocess(small, rule)
        assert same == geometry
        assert np.abs(tensor.astype(int) - wanted).mean() < 0.5
