import numpy as np
import pytest

from emo_serve.onnx_import.artefact import _steady_rows


@pytest.mark.parametrize(
    ("best", "steady"),
    [
        ([0.9, 0.5, 0.4999, 0.2], 1),  # the second and the third may change places
        ([0.9, 0.5, 0.0, 0.0], 4),  # what fills a list up is the same in any order
        ([0.9, 0.9, 0.5, 0.0], 0),
        ([0.0, 0.0, 0.0, 0.0], 4),
    ],
)
def test_a_golden_pair_of_lists_holds_what_rounding_cannot_reorder(best: list[float], steady: int) -> None:
    scores = np.array([[0.0, score] for score in best], np.float32)
    assert _steady_rows(scores) == steady
