import numpy as np

from app.vision.classify import top_classes
from app.vision.results import ClassifyParameters

SCORES = np.array([0.1, 0.4, 0.05, 0.4, 0.05], np.float32)


def test_the_best_classes_come_first_and_ties_by_label() -> None:
    result = top_classes(SCORES, ClassifyParameters(top_k=3))
    assert result.labels.tolist() == [1, 3, 0]
    assert result.scores.tolist() == SCORES[[1, 3, 0]].tolist()
    assert result.labels.dtype == np.int64
    assert result.scores.dtype == np.float32


def test_a_top_k_above_the_number_of_classes_gives_all() -> None:
    assert top_classes(SCORES, ClassifyParameters(top_k=100)).labels.tolist() == [1, 3, 0, 2, 4]


def test_classes_below_the_threshold_are_left_out_and_one_that_reaches_it_is_not() -> None:
    assert top_classes(SCORES, ClassifyParameters(5, float(SCORES[0]))).labels.tolist() == [1, 3, 0]
    assert top_classes(SCORES, ClassifyParameters(5, 0.9)).labels.tolist() == []
