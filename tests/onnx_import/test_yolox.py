"""YOLOX as its authors export it, added by the command and served: decoded, and fed as it was trained."""

import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from emo_serve.onnx_import.coco import COCO
from tests.onnx_import.adding import add, ask, refused
from tests.onnx_import.fixed import with_metadata
from tests.onnx_import.networks import write_yolo
from tests.onnx_import.reference import blocks
from tests.onnx_import.yolox import found_in, write_yolox
from tests.support import COLOURS

pytestmark = pytest.mark.anyio

PICTURES = blocks(1, 64, 64), blocks(2, 150, 90), blocks(3, 60, 110), blocks(6, 97, 61)


@pytest.mark.parametrize("strides", [(8, 16, 32), (8, 16, 32, 64)])
async def test_the_raw_head_is_decoded_as_its_authors_do_it(
    tmp_path: Path, labels: Path, strides: tuple[int, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert add(write_yolox(tmp_path / "a.onnx", strides=strides), "detect", "--labels", labels) == 0
    output = capsys.readouterr().out
    assert "YOLOX's raw head" in output
    assert "bgr (as YOLOX has it)  [--channels]" in output
    answers = await ask(tmp_path / "models", "detect", *PICTURES)
    for answer, picture in zip(answers, PICTURES, strict=True):
        wanted = found_in(picture, strides)
        assert len(wanted) > 2
        assert [entry["name"] for entry in answer] == [COLOURS[found.label] for found in wanted]
        assert [entry["score"] for entry in answer] == pytest.approx([found.score for found in wanted], abs=5e-3)
        for entry, found in zip(answer, wanted, strict=True):
            assert entry["box"] == pytest.approx(found.box, abs=0.2)


def test_the_border_is_grey_as_in_training(tmp_path: Path, labels: Path) -> None:
    assert add(write_yolox(tmp_path / "a.onnx"), "detect", "--labels", labels) == 0
    rule = json.loads((tmp_path / "models/theirs/1/manifest.json").read_text())["preprocessing"]
    assert (rule["mode"], rule["padding"]) == ("fit", 114)
    assert (rule["mean"], rule["std"]) == ([0, 0, 0], [1, 1, 1])


def test_what_is_usual_for_it_yields_to_options(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--channels", "rgb", "--mean", "0", "--std", "255", "--padding", "0")
    assert add(write_yolox(tmp_path / "a.onnx"), "detect", "--labels", labels, *options) == 0
    output = capsys.readouterr().out
    assert "  channels   rgb  [--channels]" in output
    assert "YOLOX's raw head" in output
    rule = json.loads((tmp_path / "models/theirs/1/manifest.json").read_text())["preprocessing"]
    assert (rule["padding"], rule["std"]) == (0, [255, 255, 255])


@pytest.mark.parametrize("form", ["pixel", "fraction"])
def test_a_decoded_head_is_not_decoded_again(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str], form: Literal["pixel", "fraction"]
) -> None:
    assert add(write_yolox(tmp_path / "a.onnx", form=form), "detect", "--labels", labels) == 0
    output = capsys.readouterr().out
    assert "raw head" not in output
    assert "  boxes      cxcywh" in output
    assert "bgr (as YOLOX has it)" in output  # it is fed as YOLOX all the same


def test_other_networks_with_as_many_rows_are_not_fed_as_yolox(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_yolox(tmp_path / "a.onnx", form="pixel")
    labels.write_text("red\ngreen\nblue\nblack\n")  # then there is no objectness
    assert add(file, "detect", "--labels", labels) == 0
    assert "  channels   rgb (assumed: no file tells)" in capsys.readouterr().out
    with_metadata(file, author="Ultralytics")
    labels.write_text("red\ngreen\nblue\n")
    assert add(file, "detect", "--labels", labels, "--version", "2") == 0
    assert "  channels   rgb (as its metadata is Ultralytics')" in capsys.readouterr().out


def test_the_head_can_be_told_and_denied(tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_yolox(tmp_path / "a.onnx", form="pixel")
    assert add(file, "detect", "--labels", labels, "--boxes", "yolox") == 0
    assert "raw head" in capsys.readouterr().out
    file = write_yolox(tmp_path / "a.onnx")
    assert add(file, "detect", "--labels", labels, "--boxes", "cxcywh", "--version", "2") == 0
    assert "raw head" not in capsys.readouterr().out


def test_a_head_that_cannot_be_that_of_yolox_is_refused(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_yolo(tmp_path / "a.onnx", objectness=True)
    assert add(file, "detect", "--labels", labels, "--boxes", "yolox") == 1
    assert "--boxes yolox does not fit: the head of YOLOX has 21" in refused(capsys, tmp_path / "models")


def test_a_border_without_a_fit_is_refused(tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_yolox(tmp_path / "a.onnx")
    options = ("--resize", "stretch", "--padding", "7")
    assert add(file, "detect", "--labels", labels, *options) == 1
    assert "--padding is the border of --resize fit" in refused(capsys, tmp_path / "models")


def test_coco_names_are_those_of_the_training_side() -> None:
    names = (Path(__file__).parents[2] / "emo/labels/coco.txt").read_text(encoding="utf-8").splitlines()
    assert list(COCO) == names
    assert np.unique(COCO).size == 80
