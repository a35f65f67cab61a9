"""What Ultralytics writes beside its graphs is believed: how pictures are fed, and which task it is."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.onnx_import.adding import add, refused
from tests.onnx_import.fixed import with_metadata, write_fixed
from tests.onnx_import.networks import write_classifier, write_yolo

AUTHOR = {"author": "Ultralytics", "description": "Ultralytics YOLO11n model trained on x.yaml", "stride": "32"}


def rule_of(tmp_path: Path) -> dict[str, object]:
    rule = json.loads((tmp_path / "models/theirs/1/manifest.json").read_text())["preprocessing"]
    assert isinstance(rule, dict)
    return rule


def test_a_classifier_is_fed_0_to_1_and_the_middle_of_the_picture(tmp_path: Path, labels: Path) -> None:
    file = write_classifier(tmp_path / "a.onnx", softmax=True, side="side")
    with_metadata(file, **AUTHOR, task="classify", imgsz="[48, 64]", names="{0: 'cat', 1: 'dog', 2: 'fox'}")
    assert add(file, "classify") == 0
    rule = rule_of(tmp_path)
    assert (rule["mode"], rule["resize"], rule["height"], rule["width"]) == ("crop", 64, 48, 64)
    assert (rule["mean"], rule["std"]) == ([0, 0, 0], [255, 255, 255])
    assert (tmp_path / "models/theirs/1/labels.txt").read_text() == "cat\ndog\nfox\n"
    options = ("--mean", "0.5", "--std", "0.25", "--resize", "80", "--size", "32", "--version", "2")
    assert add(file, "classify", "--labels", labels, *options) == 0
    rule = json.loads((tmp_path / "models/theirs/2/manifest.json").read_text())["preprocessing"]
    assert (rule["resize"], rule["height"], rule["std"][0]) == (80, 32, 63.75)


@pytest.mark.parametrize("metadata", [AUTHOR, {"stride": "32", "names": "['red', 'green', 'blue']"}])  # and YOLOv5's
def test_a_detector_has_a_grey_border(tmp_path: Path, labels: Path, metadata: dict[str, str]) -> None:
    file = with_metadata(write_yolo(tmp_path / "a.onnx", objectness=False), **metadata)
    assert add(file, "detect", "--labels", labels) == 0
    rule = rule_of(tmp_path)
    assert (rule["mode"], rule["padding"], rule["std"]) == ("fit", 114, [255, 255, 255])


@pytest.mark.parametrize("task", ["segment", "pose", "obb"])
def test_a_network_for_another_task_is_refused_with_that_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], task: str
) -> None:
    answers = {"output0": np.ones((1, 39, 50), np.float32), "output1": np.ones((1, 32, 16, 16), np.float32)}
    file = with_metadata(write_fixed(tmp_path / "a.onnx", answers), task=task, names="{0: 'a', 1: 'b', 2: 'c'}")
    for asked in ("detect", "classify"):
        assert add(file, asked) == 1
        assert f"its metadata says task: {task}; classifiers and detectors" in refused(capsys, tmp_path / "models")


def test_a_network_for_the_other_task_is_refused_with_what_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = with_metadata(write_classifier(tmp_path / "a.onnx"), **AUTHOR, task="classify")
    assert add(file, "detect") == 1
    assert "its metadata says task: classify; add it with --task classify" in refused(capsys, tmp_path / "models")
    assert add(file, "classify") == 0
