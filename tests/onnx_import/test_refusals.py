"""What ``emo-serve add`` refuses: with a reason that helps, and with nothing left behind."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.onnx_import.adding import add, refused
from tests.onnx_import.networks import SIDE, write_classifier, write_network, write_ssd, write_yolo


def test_labels_that_are_not_as_many_as_the_scores_are_refused(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert add(write_classifier(tmp_path / "a.onnx", classes=5), "classify", "--labels", labels) == 1
    assert "3 labels, but the graph gives 5 scores" in refused(capsys, tmp_path / "models")
    labels.write_text("red\n")
    assert add(write_yolo(tmp_path / "a.onnx", objectness=False), "detect", "--labels", labels) == 1
    assert "1 labels, but the graph gives scores for 3" in refused(capsys, tmp_path / "models")


def test_an_open_size_needs_the_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert add(write_classifier(tmp_path / "a.onnx", side="side"), "classify") == 1
    assert "--size 224" in refused(capsys, tmp_path / "models")


def test_a_size_that_is_not_the_graphs_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert add(write_classifier(tmp_path / "a.onnx"), "classify", "--size", "64") == 1
    assert "--size 64x64 is not the size" in refused(capsys, tmp_path / "models")


def test_a_batch_of_two_is_refused_with_what_to_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert add(write_classifier(tmp_path / "a.onnx", batch=2), "classify") == 1
    assert "takes exactly 2 pictures; export the graph with an open batch" in refused(capsys, tmp_path / "models")


@pytest.mark.parametrize(
    ("task", "words"), [("classify", "one output of scores (N, C)"), ("detect", "a detector has boxes")]
)
def test_outputs_that_nobody_knows_are_described(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], task: str, words: str
) -> None:
    nodes = [
        onnx.helper.make_node("Greater", ["x", "half"], ["bright"]),
        onnx.helper.make_node("NonZero", ["bright"], ["places"]),
        onnx.helper.make_node("Cast", ["places"], ["found"], to=TensorProto.FLOAT),
    ]
    constants = {"half": np.asarray(0.5, np.float32)}
    write_network(tmp_path / "a.onnx", nodes, constants, [1, 3, SIDE, SIDE], {"found": [4, "k"]})
    assert add(tmp_path / "a.onnx", task) == 1
    message = refused(capsys, tmp_path / "models")
    assert words in message
    assert "found" in message


def test_two_outputs_that_both_may_be_boxes_need_the_option(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert add(write_ssd(tmp_path / "a.onnx", background=True), "detect", "--labels", labels) == 1
    assert "--box-output; it may be confidences or where" in refused(capsys, tmp_path / "models")


def test_a_file_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.onnx").write_bytes(b"no graph at all")
    assert add(tmp_path / "a.onnx", "classify") == 1
    assert "is no" in refused(capsys, tmp_path / "models")


def test_what_git_lfs_leaves_in_a_clone_is_called_that(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.onnx").write_text(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 5000000\n"
    )
    assert add(tmp_path / "a.onnx", "classify") == 1
    assert "`git lfs pull` fetches" in refused(capsys, tmp_path / "models")


def test_a_column_that_is_an_objectness_or_a_class_is_not_guessed(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_yolo(tmp_path / "a.onnx", objectness=True)  # (N, A, 5 + 3), or (N, A, 4 + 4)
    assert add(file, "detect") == 1
    said = refused(capsys, tmp_path / "models")
    assert "an objectness and 3 classes, or 4 classes and no objectness" in said
    assert "--labels" in said
    assert add(file, "detect", "--labels", labels) == 0


def test_answers_that_are_random_are_refused_as_that(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("RandomNormalLike", ["means"], ["noise"]),
        helper.make_node("Add", ["means", "noise"], ["scores"]),
    ]
    file = write_network(tmp_path / "a.onnx", nodes, {}, ["n", 3, SIDE, SIDE], {"scores": ["n", 3]})
    assert add(file, "classify") == 1
    assert "differently each time" in refused(capsys, tmp_path / "models")


def test_a_version_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_classifier(tmp_path / "a.onnx")
    assert add(file, "classify") == 0
    before = (tmp_path / "models/theirs/1/manifest.json").read_bytes()
    assert add(file, "classify", "--size", "32") == 1
    assert "exists already" in capsys.readouterr().err
    assert (tmp_path / "models/theirs/1/manifest.json").read_bytes() == before
    assert add(file, "classify", "--version", "2") == 0


def test_a_name_that_would_leave_the_repository_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert add(write_classifier(tmp_path / "a.onnx"), "classify", "--name", "../elsewhere") == 1
    assert "--name '../elsewhere' must match" in refused(capsys, tmp_path / "models")


def test_without_the_package_onnx_the_message_says_how_to_get_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_classifier(tmp_path / "a.onnx")
    for name in [name for name in sys.modules if name.startswith("emo_serve.onnx_import.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert add(file, "classify") == 1
    assert "pip install 'emo-serve[add]'" in refused(capsys, tmp_path / "models")
