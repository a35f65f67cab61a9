import numpy as np
import pytest

from emo_serve.vision.classify import Groups, top_classes
from emo_serve.vision.results import ClassifyParameters

SCORES = np.array([0.1, 0.4, 0.05, 0.4, 0.05], np.float32)


def test_the_best_classes_come_first_and_ties_by_label() -> None:
    result = top_classes(SCORES, ClassifyParameters(top_k=3))
    assert result.class_ids.tolist() == [1, 3, 0]
    assert result.scores.tolist() == SCORES[[1, 3, 0]].tolist()
    assert result.class_ids.dtype == np.int64
    assert result.scores.dtype == np.float32


def test_a_top_k_above_the_number_of_classes_gives_all() -> None:
    assert top_classes(SCORES, ClassifyParameters(top_k=100)).class_ids.tolist() == [1, 3, 0, 2, 4]


def test_classes_below_the_threshold_are_left_out_and_one_that_reaches_it_is_not() -> None:
    assert top_classes(SCORES, ClassifyParameters(5, float(SCORES[0]))).class_ids.tolist() == [1, 3, 0]
    assert top_classes(SCORES, ClassifyParameters(5, 0.9)).class_ids.tolist() == []


GROUPS = Groups.of(("b", "a", "b", "c", "a"))


def grouped(scores: list[float], parameters: ClassifyParameters) -> list[tuple[str, float]]:
    found = top_classes(np.array(scores, np.float32), parameters, GROUPS).groups
    assert found is not None
    return [(group.name, round(group.score, 6)) for group in found]


def test_a_group_has_the_sum_of_all_its_classes_also_of_those_that_are_not_listed() -> None:
    parameters = ClassifyParameters(top_k=2)
    assert grouped([0.1, 0.2, 0.2, 0.35, 0.15], parameters) == [("a", 0.35), ("c", 0.35)]
    assert grouped([0.1, 0.2, 0.35, 0.25, 0.1], parameters) == [("b", 0.45), ("a", 0.3)]
    assert grouped([0.1, 0.2, 0.35, 0.25, 0.1], ClassifyParameters())[2:] == [("c", 0.25)]


def test_the_sums_are_those_of_a_slow_way() -> None:
    rng = np.random.default_rng(0)
    for classes in (1, 2, 200, 1000):
        names = [f"group {number}" for number in rng.integers(0, 60, classes)]
        scores = rng.dirichlet(np.full(classes, 0.1)).astype(np.float32)
        found = top_classes(scores, ClassifyParameters(top_k=1000), Groups.of(names)).groups
        wanted = {
            name: sum(s for s, other in zip(scores.tolist(), names, strict=True) if other == name) for name in names
        }
        assert found is not None
        assert {group.name: group.score for group in found} == pytest.approx(wanted, abs=1e-6)
        assert sum(group.score for group in found) == pytest.approx(1, abs=1e-5)
        assert [group.score for group in found] == sorted((group.score for group in found), reverse=True)


def test_a_group_reaches_the_threshold_by_its_sum() -> None:
    found = top_classes(SCORES, ClassifyParameters(score_threshold=0.42), GROUPS)
    assert found.class_ids.tolist() == []
    assert [group.name for group in found.groups or ()] == ["a"]


def test_independent_scores_sum_to_1_at_most_and_nan_is_in_no_group() -> None:
    assert grouped([0.9, 0.8, 0.7, 0.1, np.nan], ClassifyParameters()) == [("b", 1), ("c", 0.1)]


def test_without_groups_there_are_none() -> None:
    assert top_classes(SCORES, ClassifyParameters()).groups is None
