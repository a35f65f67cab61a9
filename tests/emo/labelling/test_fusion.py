import numpy as np
import pytest

from emo.labelling.fusion import Detection, fuse, iou

FIRST = [((10, 10, 110, 210), 0.9), ((300, 40, 420, 160), 0.6), ((500, 300, 560, 380), 0.35)]
SECOND = [((14, 6, 118, 200), 0.7), ((310, 50, 430, 150), 0.8), ((40, 300, 90, 420), 0.5)]
THIRD = [((6, 12, 104, 214), 0.5), ((620, 20, 700, 90), 0.45)]


def detections(*models: list[tuple[tuple[int, int, int, int], float]]) -> list[Detection]:
    return [Detection(number, box, score) for number, boxes in enumerate(models) for box, score in boxes]


def test_boxes_are_fused_as_the_authors_of_the_paper_fuse_them() -> None:
    found = fuse(detections(FIRST, SECOND), num_models=2)
    wanted: list[list[float]] = [  # what ensemble-boxes 1.0.9 answers
        [11.75, 8.25, 113.5, 205.625],
        [305.714, 45.714, 425.714, 154.286],
        [40, 300, 90, 420],
        [500, 300, 560, 380],
    ]
    np.testing.assert_allclose([one.box_xyxy for one in found], wanted, atol=1e-3)
    np.testing.assert_allclose([one.score for one in found], [0.8, 0.7, 0.25, 0.175])
    assert [one.models for one in found] == [(0, 1), (0, 1), (1,), (0,)]


def test_three_models_are_fused_as_well() -> None:
    found = fuse(detections(FIRST, SECOND, THIRD), num_models=3)
    np.testing.assert_allclose(found[0].box_xyxy, [10.381, 9.143, 111.238, 207.619], atol=1e-3)
    np.testing.assert_allclose([one.score for one in found], [0.7, 0.46667, 0.16667, 0.15, 0.11667], atol=1e-5)


def test_what_only_one_model_can_know_keeps_its_score() -> None:
    assert [one.score for one in fuse(detections([], SECOND), num_models=1)] == [0.8, 0.7, 0.5]


def test_two_people_side_by_side_stay_two_when_both_models_see_both() -> None:
    left, right = (0, 0, 100, 200), (25, 0, 125, 200)
    assert iou(left, right) == pytest.approx(0.6)
    found = fuse(detections([(left, 0.9), (right, 0.8)], [(right, 0.7), (left, 0.6)]), num_models=2)
    np.testing.assert_allclose([one.box_xyxy for one in found], [left, right])
    assert [one.score for one in found] == [0.75, 0.75]


def test_nothing_seen_is_nothing() -> None:
    assert fuse([], num_models=2) == []
