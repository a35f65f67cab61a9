import numpy as np
import pytest
from numpy.typing import NDArray

from emo_serve.errors import InvalidParameter
from emo_serve.manifest import DetectionDefaults
from emo_serve.vision.detect import MAX_CANDIDATES, select_detections
from emo_serve.vision.results import Detections, DetectParameters, Geometry, ImageSize

LABELS = ("bus", "car", "person")
SAME_SIZE = Geometry(ImageSize(100, 100), 1, 1)
DEFAULTS = DetectionDefaults(score_threshold=0.3, iou_threshold=0.5, max_detections=100)

BOXES = np.array(
    [
        [10, 10, 50, 50],
        [12, 10, 52, 50],  # nearly the first
        [60, 60, 90, 90],
    ],
    np.float32,
)
SCORES = np.array(
    [
        [0.1, 0.8, 0.6],  # a car, and less surely a person
        [0.0, 0.9, 0.0],
        [0.3, 0.2, 0.0],
    ],
    np.float32,
)


def select(
    boxes: NDArray[np.float32] = BOXES,
    scores: NDArray[np.float32] = SCORES,
    parameters: DetectParameters | None = None,
    geometry: Geometry = SAME_SIZE,
) -> Detections:
    return select_detections(boxes, scores, geometry, parameters or DetectParameters(), DEFAULTS, LABELS)


def test_objects_come_best_first_and_suppression_works_within_a_class() -> None:
    found = select()
    assert found.class_ids.tolist() == [1, 2, 0]
    assert found.scores.tolist() == SCORES[[1, 0, 2], [1, 2, 0]].tolist()
    np.testing.assert_array_equal(found.boxes_xyxy, BOXES[[1, 0, 2]])
    assert found.boxes_xyxy.dtype == found.scores.dtype == np.float32
    assert found.class_ids.dtype == np.int64


def test_suppression_among_all_classes_leaves_the_best_box_of_each_place() -> None:
    found = select(parameters=DetectParameters(class_agnostic=True))
    assert found.class_ids.tolist() == [1, 0]
    assert found.scores.tolist() == pytest.approx([0.9, 0.3])
    some = select(parameters=DetectParameters(class_agnostic=True, classes=("person", "bus")))
    assert some.class_ids.tolist() == [2, 0]
    assert len(select(parameters=DetectParameters(class_agnostic=True, iou_threshold=1.0)).class_ids) == 4


def test_what_a_client_says_goes_before_the_defaults() -> None:
    assert select(parameters=DetectParameters(score_threshold=0.7)).class_ids.tolist() == [1]
    assert select(parameters=DetectParameters(iou_threshold=0.99)).class_ids.tolist() == [1, 1, 2, 0]
    assert select(parameters=DetectParameters(max_detections=1)).class_ids.tolist() == [1]
    assert len(select(parameters=DetectParameters(score_threshold=0.15, iou_threshold=1.0)).class_ids) == 5


def test_a_score_of_0_is_no_object_even_where_the_threshold_is_0() -> None:
    found = select(parameters=DetectParameters(score_threshold=0.0, iou_threshold=1.0))
    assert len(found.class_ids) == 6
    assert found.scores.min() == np.float32(0.1)


def test_only_the_classes_asked_for_take_part() -> None:
    assert select(parameters=DetectParameters(classes=("person", "bus"))).class_ids.tolist() == [2, 0]
    assert select(parameters=DetectParameters(classes=("car", "car"), max_detections=1)).class_ids.tolist() == [1]


def test_an_unknown_class_is_an_error_that_lists_what_is_allowed() -> None:
    with pytest.raises(InvalidParameter, match="no class 'cow'; allowed are bus, car, person"):
        select(parameters=DetectParameters(classes=("bus", "cow")))


def test_boxes_are_in_pixels_of_the_image() -> None:
    geometry = Geometry(ImageSize(200, 50), scale_x=0.5, scale_y=2)
    found = select(geometry=geometry, parameters=DetectParameters(score_threshold=0.85))
    np.testing.assert_array_equal(found.boxes_xyxy, [[24, 5, 104, 25]])


def test_boxes_without_area_in_the_image_are_dropped() -> None:
    boxes = np.array(
        [[10, 10, 10, 50], [50, 50, 10, 10], [-30, 0, 0, 20], [100, 0, 130, 20], [np.nan, 0, 5, 5], [-5, -5, 5, 5]],
        np.float32,
    )
    scores = np.zeros((6, 3), np.float32)
    scores[:, 0] = 0.9
    np.testing.assert_array_equal(select(boxes, scores).boxes_xyxy, [[0, 0, 5, 5]])


def test_nothing_found_is_an_empty_result() -> None:
    found = select(scores=np.zeros_like(SCORES))
    assert found.boxes_xyxy.shape == (0, 4)


def test_a_score_that_is_no_number_is_no_object() -> None:
    assert select(scores=np.full_like(SCORES, np.nan)).class_ids.shape == (0,)


def test_only_the_best_of_countless_candidates_are_compared() -> None:
    random = np.random.default_rng(0)
    low = random.uniform(0, 99, (5000, 2))
    boxes = np.concatenate([low, low + 0.01], axis=1).astype(np.float32)
    scores = random.uniform(0.5, 1, (5000, 3)).astype(np.float32)
    found = select(boxes, scores, DetectParameters(max_detections=5000))
    assert len(found.class_ids) <= MAX_CANDIDATES
    np.testing.assert_array_equal(found.scores[:50], np.sort(scores.ravel())[::-1][:50])


def test_equal_scores_keep_the_order_of_the_anchors() -> None:
    boxes = np.array([[x, 0, x + 5, 5] for x in range(0, 60, 10)], np.float32)
    found = select(boxes, np.full((6, 3), 0.5, np.float32), DetectParameters(classes=("car",)))
    assert found.boxes_xyxy[:, 0].tolist() == [0, 10, 20, 30, 40, 50]
