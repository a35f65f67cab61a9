"""Answers are kept, and a command that was killed goes on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from emo.evaluation.evaluated_model import EvaluatedModel
from emo.evaluation.ground_truth import GroundTruth, read_ground_truth
from emo.evaluation.local import local_model
from emo.evaluation.measure import measure
from emo.evaluation.targets import choose_model
from emo.export.predict import onnx_predict
from tests.emo.evaluation.splits import write_mapped
from tests.support import write_segmenter

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own


class Killed(Exception):
    pass


class Counted:
    """The toy segmenter, which is killed when it is asked for the fourth time."""

    def __init__(self, folder: Path) -> None:
        self.asked = 0
        self.kill_at: int | None = 4
        self._predict = onnx_predict(folder / "model.onnx")

    def __call__(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        self.asked += 1
        if self.asked == self.kill_at:
            raise Killed
        return self._predict(images)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_segmenter(tmp_path / "models")


@pytest.fixture
def truth(tmp_path: Path) -> GroundTruth:
    write_mapped(tmp_path / "data", count=6)
    return read_ground_truth("segment", tmp_path / "data")


@pytest.fixture
def subject(folder: Path) -> EvaluatedModel:
    return choose_model(str(folder))


@pytest.mark.parametrize("cut_off", [False, True])
def test_after_a_kill_only_the_missing_pictures_are_asked_about(
    cut_off: bool, folder: Path, subject: EvaluatedModel, truth: GroundTruth, tmp_path: Path
) -> None:
    whole = measure(subject, truth)
    counted, kept = Counted(folder), tmp_path / "kept" / "answers.jsonl"
    local = local_model(subject.description, counted)
    with pytest.raises(Killed):
        measure(local, truth, kept)
    if cut_off:  # in the middle of a line
        kept.write_bytes(kept.read_bytes()[:-20])
    counted.asked, counted.kill_at = 0, None
    assert measure(local, truth, kept) == whole
    assert counted.asked == (4 if cut_off else 3)
    assert measure(local, truth, kept) == whole
    assert counted.asked == (4 if cut_off else 3)
    assert len(kept.read_text().splitlines()) == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"digest": "f00"}, "another model"),
        ({"rule": None}, "another way of preparing pictures"),
        ({"data": True}, "other pictures"),
    ],
)
def test_answers_of_another_evaluation_are_refused_with_what_differs(
    change: dict[str, object], message: str, subject: EvaluatedModel, truth: GroundTruth, tmp_path: Path
) -> None:
    kept = tmp_path / "answers.jsonl"
    measure(subject, truth, kept)
    before = kept.read_bytes()
    description = subject.description
    if "rule" in change:
        description = replace(description, rule=description.rule.model_copy(update={"interpolation": "bicubic"}))
    elif "digest" in change:
        description = replace(description, digest="f00")
    else:
        path = truth.pictures[0].path
        path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ValueError, match=rf"answers of another evaluation \({message}\)"):
        measure(EvaluatedModel(description, subject.predict), truth, kept)
    assert kept.read_bytes() == before


@pytest.mark.parametrize("content", ["no JSON\n", "no JSON", "[]\n", '{"model": 1}\nno JSON\n', "\n"])
def test_a_file_of_something_else_is_left_alone(
    content: str, subject: EvaluatedModel, truth: GroundTruth, tmp_path: Path
) -> None:
    kept = tmp_path / "notes.txt"
    kept.write_text(content)
    with pytest.raises(ValueError, match="choose another file"):
        measure(subject, truth, kept)
    assert kept.read_text() == content
