import numpy as np
import pytest
from numpy.typing import NDArray

from emo_serve.vision import segment as segmentation
from emo_serve.vision.results import Geometry, ImageSize, Segmentation
from emo_serve.vision.segment import enlarged, segment


def logits_of(classes: int, height: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((classes, height, width)).astype(np.float32)


def stretched(image: ImageSize, height: int, width: int) -> Geometry:
    return Geometry(image, width / image.width, height / image.height)


def interpolated(logits: NDArray[np.float32], height: int, width: int) -> NDArray[np.float64]:
    """Bilinear, corners not aligned, one line at a time."""

    def along(values: NDArray[np.float64], axis: int, size: int) -> NDArray[np.float64]:
        cells = values.shape[axis]
        centres = (np.arange(cells) + 0.5) * size / cells
        return np.apply_along_axis(lambda line: np.interp(np.arange(size) + 0.5, centres, line), axis, values)

    return along(along(logits.astype(np.float64), 1, height), 2, width)


@pytest.mark.parametrize("classes", [2, 7, 150])
@pytest.mark.parametrize("size", [(64, 96), (50, 31), (3, 5)])
def test_every_pixel_gets_the_class_whose_interpolated_logit_is_highest(classes: int, size: tuple[int, int]) -> None:
    height, width = size
    logits = logits_of(classes, 4, 6)
    found = segment(logits, stretched(ImageSize(width, height), 128, 192), 128, 192)
    values = interpolated(logits, height, width)
    first, second = np.sort(values, axis=0)[-1:-3:-1]
    is_clear = first - second > 1e-5
    assert is_clear.mean() > 0.99
    np.testing.assert_array_equal(found.class_map[is_clear], values.argmax(axis=0)[is_clear])


def test_the_lower_class_id_wins_a_draw() -> None:
    found = segment(np.zeros((3, 2, 2), np.float32), stretched(ImageSize(8, 8), 8, 8), 8, 8)
    assert (found.class_map == 0).all()


def test_a_picture_that_was_fitted_has_its_classes_where_it_lay_in_the_input() -> None:
    # the input is 64 x 64, the picture 128 x 64: it lies in the upper half, and what is below belongs to no pixel
    logits = np.zeros((3, 16, 16), np.float32)
    logits[0, :8, :8] = logits[1, :8, 8:] = 1
    logits[2, 8:] = 5
    found = segment(logits, Geometry(ImageSize(128, 64), 0.5, 0.5), 64, 64)
    assert (found.class_map[:56, :60] == 0).all()
    assert (found.class_map[:56, 68:] == 1).all()
    assert (found.class_map[63, 4:60] == 2).all()  # half-way to the next cell
    assert {region.class_id for region in found.regions} == {0, 1, 2}


def test_the_map_of_a_large_picture_is_bounded_and_its_areas_are_those_of_all_pixels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = ImageSize(300, 200)
    logits = logits_of(3, 4, 4)
    whole = segment(logits, stretched(image, 64, 64), 64, 64)
    monkeypatch.setattr(segmentation, "MAX_MAP_PIXELS", 5000)
    found = segment(logits, stretched(image, 64, 64), 64, 64)
    assert found.class_map.size <= 5000
    assert sum(region.pixels for region in found.regions) == 300 * 200
    assert (enlarged(found.class_map, image) == whole.class_map).mean() > 0.98


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1)])
def test_the_smallest_and_the_narrowest_pictures_have_a_map(size: tuple[int, int]) -> None:
    found = segment(logits_of(4, 2, 2), stretched(ImageSize(*size), 64, 64), 64, 64)
    assert found.class_map.shape == size[::-1]


def test_a_map_of_more_pixels_than_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        Segmentation(ImageSize(2, 2), np.zeros((3, 2), np.uint8), ())
