"""Broad groups of the classes of an added model, from a table."""

from pathlib import Path

import pytest

from tests.onnx_import.adding import add, ask, refused
from tests.onnx_import.networks import write_classifier, write_yolo
from tests.support import plain

pytestmark = pytest.mark.anyio


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    path = tmp_path / "groups.csv"
    path.write_text("name,group\nred,warm\ngreen,cold\nblue,cold\n")
    return path


async def test_the_classes_of_an_added_model_have_the_groups_of_the_table(
    tmp_path: Path, labels: Path, groups: Path
) -> None:
    file = write_classifier(tmp_path / "a.onnx")
    assert add(file, "classify", "--labels", labels, "--groups", groups) == 0
    (answer,) = await ask(tmp_path / "models", "classify", plain("blue"))
    assert {entry["name"]: entry["group"] for entry in answer} == {"red": "warm", "green": "cold", "blue": "cold"}


def test_groups_that_do_not_fit_are_refused(
    tmp_path: Path, labels: Path, groups: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    detector = write_yolo(tmp_path / "a.onnx", objectness=False)
    assert add(detector, "detect", "--labels", labels, "--groups", groups) == 1
    assert "'groups' belongs to task 'classify' and only there" in refused(capsys, tmp_path / "models")
    groups.write_text("name,group\nred,warm\n")
    file = write_classifier(tmp_path / "a.onnx", softmax=True)
    assert add(file, "classify", "--labels", labels, "--groups", groups) == 1
    assert "has no group for 2 of the 3 classes: 'green', 'blue'" in refused(capsys, tmp_path / "models")
