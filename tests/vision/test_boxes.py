import numpy as np
import pytest
from numpy.typing import NDArray

from emo_serve.vision.boxes import (
    areas,
    input_to_image,
    non_maximum_suppression,
    normalise,
    xyxy_to_cxcywh,
    xyxy_to_xywh,
)
from emo_serve.vision.results import Geometry, ImageSize

XYXY = np.array([[10, 20, 40, 80], [0, 0, 5, 1]], np.float32)


def test_the_three_formats_say_the_same() -> None:
    np.testing.assert_array_equal(xyxy_to_xywh(XYXY), [[10, 20, 30, 60], [0, 0, 5, 1]])
    np.testing.assert_array_equal(xyxy_to_cxcywh(XYXY), [[25, 50, 30, 60], [2.5, 0.5, 5, 1]])


def test_boxes_stay_float32_and_none_stays_none() -> None:
    for convert in (xyxy_to_xywh, xyxy_to_cxcywh):
        assert convert(XYXY).dtype == np.float32
        assert convert(np.empty((0, 4), np.float32)).shape == (0, 4)
    assert normalise(XYXY, ImageSize(50, 100)).dtype == np.float32


def test_normalised_boxes_are_fractions_of_width_and_height() -> None:
    np.testing.assert_allclose(normalise(XYXY, ImageSize(50, 100))[0], [0.2, 0.2, 0.8, 0.8])


def test_boxes_of_the_input_are_found_in_the_image_and_clipped_to_it() -> None:
    geometry = Geometry(ImageSize(100, 50), scale_x=2, scale_y=4, offset_x=-10, offset_y=8)
    boxes = np.array([[10, 28, 30, 48], [-90, -90, 900, 900]], np.float32)
    np.testing.assert_array_equal(input_to_image(boxes, geometry), [[10, 5, 20, 10], [0, 0, 100, 50]])


def test_the_area_of_a_box_and_of_none() -> None:
    boxes = np.array([[1, 0, 3, 2], [5, 5, 5, 5], [2, 2, 0, 0]], np.float32)
    np.testing.assert_array_equal(areas(boxes), [4, 0, 0])


def iou(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Intersection over union of two boxes, in plain arithmetic."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return float(common / (sum(areas) - common))


@pytest.mark.parametrize("max_kept", [5, 1000])
@pytest.mark.parametrize("iou_threshold", [0.0, 0.45, 1.0])
def test_suppression_equals_its_definition(iou_threshold: float, max_kept: int) -> None:
    random = np.random.default_rng(3)
    low = random.uniform(0, 60, (200, 2))
    boxes = np.concatenate([low, low + random.uniform(5, 40, (200, 2))], axis=1).astype(np.float32)
    labels = random.integers(0, 3, 200)
    wanted: list[int] = []
    for index in range(200):
        if not any(labels[k] == labels[index] and iou(boxes[k], boxes[index]) > iou_threshold for k in wanted):
            wanted.append(index)
    kept = non_maximum_suppression(boxes, labels, iou_threshold, max_kept)
    assert kept.tolist() == wanted[:max_kept]


def test_nothing_to_suppress_leaves_nothing() -> None:
    kept = non_maximum_suppression(np.empty((0, 4), np.float32), np.empty(0, np.int64), 0.5, 10)
    assert kept.shape == (0,)
