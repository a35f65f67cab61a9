from pathlib import Path

import pytest

from emo.evaluation.answers import Answer
from emo.evaluation.ground_truth import read_truth
from emo.evaluation.measure import measure
from emo.evaluation.targets import choose_subject
from emo.evaluation.topk import Labelled
from tests.emo.evaluation.splits import write_labelled
from tests.support import write_classifier


@pytest.mark.parametrize(("classes", "figures"), [(2, {"top1"}), (9, {"top1"}), (10, {"top1", "top5"})])
def test_top5_is_told_of_models_of_ten_classes_or_more(classes: int, figures: set[str]) -> None:
    truth = Labelled((), (), (0, 1))
    found = truth.figures([Answer([0, 1], [0.6, 0.4])] * 2, tuple(f"class {label}" for label in range(classes)))
    assert found.keys() == figures
    assert found["top1"] == 0.5
    assert found.get("top5", 1.0) == 1.0


def test_the_model_counts_and_not_the_data_which_may_have_fewer_classes(tmp_path: Path) -> None:
    write_labelled(tmp_path / "data")
    subject = choose_subject(str(write_classifier(tmp_path / "models")))
    assert measure(subject, read_truth("classify", tmp_path / "data")).keys() == {"top1"}
