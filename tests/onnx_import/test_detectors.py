"""Detectors as other people export them, added by the command and served by the real application."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from tests.onnx_import.adding import add, ask, refused
from tests.onnx_import.fixed import write_fixed
from tests.onnx_import.networks import CELL, CELLS, SIDE, write_ssd, write_yolo
from tests.support import encode_image, plain

pytestmark = pytest.mark.anyio


def one_cell(colour: str, column: int, row: int) -> NDArray[np.uint8]:
    """A black picture (S, S, 3) with one cell of colour."""
    picture = plain("black", SIDE, SIDE)
    picture[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = plain(colour, CELL, CELL)
    return picture


@pytest.mark.parametrize(
    ("kind", "batch"), [("ssd", 1), ("ssd with background", "n"), ("v8", "n"), ("v8", 1), ("v5", "n")]
)
async def test_a_detector_finds_every_object_to_the_pixel(
    tmp_path: Path, labels: Path, kind: str, batch: str | int
) -> None:
    file = tmp_path / "a.onnx"
    options: list[str] = []
    if kind.startswith("ssd"):
        write_ssd(file, batch=batch, background=kind != "ssd")
        options = ["--box-output", "where"]
    else:
        write_yolo(file, objectness=kind == "v5", batch=batch)
    assert add(file, "detect", "--labels", labels, *options) == 0
    pictures = one_cell("blue", 5, 6), one_cell("red", 0, 7), one_cell("red", 3, 1)
    first, second, third = await ask(tmp_path / "models", "detect", *pictures)
    assert [(entry["name"], entry["box"]) for entry in first] == [("blue", [20, 24, 24, 28])]
    assert [(entry["name"], entry["box"]) for entry in second] == [("red", [0, 28, 4, 32])]
    if kind == "v5":  # the network has no objectness up there
        assert third == []
    else:
        assert [(entry["name"], entry["box"]) for entry in third] == [("red", [12, 4, 16, 8])]


@pytest.mark.parametrize(("columns", "turned"), [(84, False), (85, False), (84, True), (85, True)])
def test_a_table_without_names_that_may_hold_the_scores_of_coco_does(
    tmp_path: Path, columns: int, turned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(1)
    boxes = np.concatenate((random.uniform(20, 44, (1, 100, 2)), random.uniform(4, 20, (1, 100, 2))), axis=-1)
    table = np.concatenate((boxes, random.uniform(0, 1, (1, 100, columns - 4))), axis=-1).astype(np.float32)
    file = write_fixed(tmp_path / "a.onnx", {"output0": table.transpose(0, 2, 1) if turned else table})
    assert add(file, "detect") == 0
    text = capsys.readouterr().out
    assert "100 boxes, 80 classes" in text
    assert "80, COCO's" in text


async def test_a_picture_keeps_its_proportions_before_a_yolo_network(tmp_path: Path, labels: Path) -> None:
    assert add(write_yolo(tmp_path / "a.onnx", objectness=False), "detect", "--labels", labels) == 0
    picture = plain("black", 2 * SIDE, SIDE)
    picture[8:16, 48:56] = plain("green", 8, 8)
    (found,) = await ask(tmp_path / "models", "detect", picture, score_threshold=0.5)
    assert [(entry["name"], entry["box"]) for entry in found] == [("green", [48, 8, 56, 16])]


async def test_of_two_outputs_of_scores_one_is_chosen_by_the_option(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_ssd(tmp_path / "a.onnx")
    model = onnx.load(file)
    model.graph.node.append(onnx.helper.make_node("Mul", ["colours", "nothing"], ["others"]))
    shape: list[str | int | None] = ["n", CELLS * CELLS, 3]
    model.graph.output.append(onnx.helper.make_tensor_value_info("others", onnx.TensorProto.FLOAT, shape))
    onnx.save(model, file)
    assert add(file, "detect", "--labels", labels, "--box-output", "where") == 1
    assert "Say it with --score-output; it may be confidences or others" in refused(capsys, tmp_path / "models")
    options = ("--box-output", "where", "--score-output", "confidences")
    assert add(file, "detect", "--labels", labels, *options) == 0
    (found,) = await ask(tmp_path / "models", "detect", one_cell("blue", 5, 6))
    assert [(entry["name"], entry["box"]) for entry in found] == [("blue", [20, 24, 24, 28])]


async def test_a_wrong_guess_is_mended_by_the_flag_that_is_named(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_ssd(tmp_path / "a.onnx")
    assert add(file, "detect", "--labels", labels, "--boxes", "xyxy", "--units", "pixel", "--scores", "logits") == 0
    output = capsys.readouterr().out
    for flag in ("--boxes", "--units", "--scores", "--mean, --std", "--resize", "--layout", "--labels"):
        assert f"[{flag}" in output
    assert "logits, as --scores says; a sigmoid is added" in output
    assert "xyxy, as --boxes says" in output
    assert "pixel, as --units says" in output


def test_the_answer_for_a_photo_and_the_way_to_ask_are_shown(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(encode_image(one_cell("blue", 5, 2)))
    file = write_yolo(tmp_path / "a.onnx", objectness=False)
    assert add(file, "detect", "--labels", labels, "--photo", photo) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  1.0000  blue  [20.0, 8.0, 24.0, 12.0]" in lines
    assert lines[-2].endswith("'localhost:8000/detect?model=theirs'")
    assert lines[-1] == "default for detect: theirs, which answers where a request names no model"


def test_a_photo_that_is_no_regular_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "photo.jpg")
    for photo, reason in ((tmp_path / "photo.jpg", "it is a FIFO"), (Path("/dev/zero"), "it is a device")):
        assert add(write_ssd(tmp_path / "a.onnx"), "detect", "--photo", photo) == 1
        assert f"{photo}: cannot be read: {reason}, not a regular file" in refused(capsys, tmp_path / "models")
