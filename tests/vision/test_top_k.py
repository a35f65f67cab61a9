import numpy as np
import pytest

from emo_serve.vision.top_k import best_indices


@pytest.mark.parametrize("count", [1, 3, 10, 100, 1000, 5000])
def test_the_best_are_those_of_a_stable_sort(count: int) -> None:
    scores = np.random.default_rng(1).integers(0, 50, 1000).astype(np.float32)  # many ties
    wanted = np.argsort(-scores, kind="stable")[:count]
    np.testing.assert_array_equal(best_indices(scores, count), wanted)


def test_nan_is_never_among_the_best() -> None:
    scores = np.array([np.nan, 0.1, np.nan, 0.3], np.float32)
    assert best_indices(scores, 1).tolist() == [3]
    assert best_indices(scores, 4).tolist() == [3, 1]


def test_nothing_has_no_best() -> None:
    assert best_indices(np.empty(0, np.float32), 5).tolist() == []
