"""What two models say about one image is compared by the names of classes."""

import numpy as np
import pytest

from emo_serve.vision.compare import Comparison, compare
from emo_serve.vision.results import (
    Classification,
    Detections,
    GraphOutputs,
    ImageSize,
    Result,
    Segmentation,
)

PETS = ("cat", "dog", "bird")
MORE_PETS = ("fish", "dog", "cat")
LEFT, RIGHT = (0, 0, 10, 10), (20, 0, 30, 10)


def classes(*found: tuple[int, float]) -> Classification:
    ids, scores = zip(*found, strict=True)
    return Classification(np.asarray(ids), np.asarray(scores, np.float32))


def objects(*found: tuple[tuple[float, ...], int, float]) -> Detections:
    boxes = np.asarray([box for box, _, _ in found], np.float32).reshape(-1, 4)
    ids, scores = [entry[1] for entry in found], [entry[2] for entry in found]
    return Detections(boxes, np.asarray(ids, np.int64), np.asarray(scores, np.float32))


def classes_of_pixels(rows: list[list[int]], width: int = 8, height: int = 8) -> Segmentation:
    return Segmentation(ImageSize(width, height), np.asarray(rows, np.uint8), ())


def rounded(found: Comparison) -> list[tuple[float, float]]:
    return [(round(first, 5), round(second, 5)) for first, second in found.scores]


def test_classifiers_agree_where_the_best_class_has_the_same_name() -> None:
    same = compare(classes((0, 0.9), (1, 0.1)), PETS, classes((2, 0.6), (0, 0.4)), MORE_PETS)
    assert (same.agreement, rounded(same)) == (1.0, [(0.9, 0.6)])
    other = compare(classes((0, 0.9)), PETS, classes((0, 0.8)), MORE_PETS)  # the same number
    assert (other.agreement, rounded(other)) == (0.0, [(0.9, 0.8)])
    unknown = compare(classes((2, 0.9)), PETS, classes((0, 0.8)), MORE_PETS)
    assert unknown.agreement == 0.0


def test_boxes_are_partners_if_they_are_of_one_class_and_overlap_by_half() -> None:
    first = objects((LEFT, 0, 0.9), (RIGHT, 1, 0.8))
    moved = (0, 0, 10, 8)  # IoU 0.8
    found = compare(first, PETS, objects((moved, 2, 0.7), (RIGHT, 2, 0.6)), MORE_PETS)
    assert (found.agreement, rounded(found)) == (0.5, [(0.9, 0.7)])
    far = (0, 0, 10, 4.9)
    assert compare(first, PETS, objects((far, 2, 0.7)), MORE_PETS).agreement == 0.0


def test_a_box_has_one_partner_and_takes_the_nearest() -> None:
    first = objects((LEFT, 0, 0.9), (LEFT, 0, 0.8))
    found = compare(first, PETS, objects(((0, 0, 10, 7), 0, 0.5), (LEFT, 0, 0.7)), PETS)
    assert found.agreement == 1.0
    assert rounded(found) == [(0.9, 0.7), (0.8, 0.5)]
    assert compare(first, PETS, objects((LEFT, 0, 0.7)), PETS).agreement == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("first", "second", "agreement"),
    [((), (), 1.0), (((LEFT, 0, 0.5),), (), 0.0), ((), ((LEFT, 0, 0.5),), 0.0)],
)
def test_finding_nothing_is_an_answer_too(
    first: tuple[tuple[tuple[float, ...], int, float], ...],
    second: tuple[tuple[tuple[float, ...], int, float], ...],
    agreement: float,
) -> None:
    found = compare(objects(*first), PETS, objects(*second), PETS)
    assert (found.agreement, found.scores) == (agreement, ())


def test_maps_agree_by_the_share_of_pixels_even_if_one_is_coarser() -> None:
    first = classes_of_pixels([[0, 0, 1, 1]] * 4)
    assert compare(first, PETS, classes_of_pixels([[2, 2, 1, 1]] * 4), MORE_PETS).agreement == 1.0
    assert compare(first, PETS, classes_of_pixels([[0, 0, 1, 1]] * 4), MORE_PETS).agreement == 0.5
    assert compare(first, PETS, classes_of_pixels([[0, 2], [0, 1]]), PETS).agreement == 0.75


@pytest.mark.parametrize("other", [objects(), GraphOutputs({})])
def test_results_of_different_tasks_are_not_compared(other: Result) -> None:
    with pytest.raises(TypeError, match="cannot be compared"):
        compare(classes((0, 0.9)), PETS, other, PETS)
