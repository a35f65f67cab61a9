"""Networks as other people export them, added by the command and served by the real application."""

import json
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from app.__main__ import main
from tests.add.networks import CELL, SIDE, write_classifier, write_network, write_ssd, write_yolo
from tests.serving import in_process, settings_for
from tests.support import COLOURS, encode_image, plain

pytestmark = pytest.mark.anyio


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.txt"
    path.write_text("\n".join(COLOURS) + "\n", encoding="utf-8")
    return path


def add(file: Path, task: str, *options: str | Path) -> int:
    """The exit status; the models are in a folder beside the file."""
    arguments = ["add", file, "--name", "theirs", "--task", task, "--models", file.parent / "models", *options]
    (file.parent / "models").mkdir(exist_ok=True)
    return main([str(argument) for argument in arguments])


async def ask(models: Path, task: str, *pictures: NDArray[np.uint8], **query: Any) -> list[Any]:  # noqa: ANN401
    """What the server says about each of the pictures, sent together."""
    files = [("file", ("a.png", encode_image(picture), "image/png")) for picture in pictures]
    async with in_process(settings_for(models, tune=False)) as (client, _):
        answer = await client.post(f"/{task}", files=files, params={"model": "theirs", **query})
    assert answer.status_code == httpx.codes.OK, answer.text
    found = answer.json()
    results = [entry.get("result", entry) for entry in found.get("results", [found])]
    return [result["classifications" if task == "classify" else "detections"] for result in results]


def one_cell(colour: str, column: int, row: int) -> NDArray[np.uint8]:
    """A black picture (S, S, 3) with one cell of colour."""
    picture = plain("black", SIDE, SIDE)
    picture[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = plain(colour, CELL, CELL)
    return picture


# ---- classifiers ----


@pytest.mark.parametrize(("channels_first", "batch"), [(True, "n"), (False, 1)])
async def test_a_classifier_with_logits_is_served_with_the_softmax_of_what_it_was_made_for(
    tmp_path: Path, labels: Path, channels_first: bool, batch: str | int
) -> None:
    file = write_classifier(tmp_path / "a.onnx", channels_first=channels_first, batch=batch)
    assert add(file, "classify", "--labels", labels, "--mean", "0.5", "--std", "0.25", "--resize", "stretch") == 0
    picture = np.full((40, 50, 3), (255, 204, 51), np.uint8)
    (answer, other) = await ask(tmp_path / "models", "classify", picture, plain("blue"))
    logits = 10 * (np.array([1.0, 0.8, 0.2]) - 0.5) / 0.25
    expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    assert [entry["name"] for entry in answer] == ["red", "green", "blue"]
    assert [entry["score"] for entry in answer] == pytest.approx(expected, abs=1e-4)
    assert other[0]["name"] == "blue"


async def test_probabilities_are_served_as_they_are(tmp_path: Path, labels: Path) -> None:
    file = write_classifier(tmp_path / "a.onnx", channels_first=False, softmax=True)
    assert add(file, "classify", "--labels", labels, "--mean", "0", "--std", "255") == 0
    ((best, *rest),) = await ask(tmp_path / "models", "classify", plain("green"))
    assert best["name"] == "green"
    assert best["score"] == pytest.approx(np.exp(10) / (np.exp(10) + 2), abs=1e-4)
    assert len(rest) == 2


@pytest.mark.parametrize("dtype", [TensorProto.UINT8, TensorProto.FLOAT16])
async def test_bytes_and_half_precision_are_fed_as_well(tmp_path: Path, labels: Path, dtype: int) -> None:
    file = write_classifier(tmp_path / "a.onnx", dtype=dtype)
    options = [] if dtype == TensorProto.UINT8 else ["--mean", "0", "--std", "1"]
    assert add(file, "classify", "--labels", labels, *options) == 0
    ((best, *_),) = await ask(tmp_path / "models", "classify", plain("blue"))
    assert best["name"] == "blue"
    assert best["score"] == pytest.approx(np.exp(10) / (np.exp(10) + 2), abs=1e-3)


async def test_channels_in_the_order_of_opencv_are_turned(tmp_path: Path, labels: Path) -> None:
    file = write_classifier(tmp_path / "a.onnx")
    assert add(file, "classify", "--labels", labels, "--channels", "bgr") == 0
    ((best, *_),) = await ask(tmp_path / "models", "classify", plain("red"))
    assert best["name"] == "blue"  # which is what the network calls its last channel


async def test_a_size_that_the_graph_leaves_open_is_given(tmp_path: Path, labels: Path) -> None:
    file = write_classifier(tmp_path / "a.onnx", side="side")
    assert add(file, "classify", "--labels", labels, "--size", "24x16") == 0
    manifest = json.loads((tmp_path / "models/theirs/1/manifest.json").read_text())
    assert manifest["input"]["shape"] == [-1, 16, 24, 3]
    ((best, *_),) = await ask(tmp_path / "models", "classify", plain("red"))
    assert best["name"] == "red"


async def test_names_that_the_file_holds_are_the_labels(tmp_path: Path) -> None:
    file = write_classifier(tmp_path / "a.onnx")
    model = onnx.load(file)
    entry = model.metadata_props.add()
    entry.key, entry.value = "names", "{0: 'crimson', 1: 'lime', 2: 'navy'}"
    onnx.save(model, file)
    assert add(file, "classify") == 0
    ((best, *_),) = await ask(tmp_path / "models", "classify", plain("blue"))
    assert best["name"] == "navy"


async def test_a_batch_that_is_open_in_name_only_is_computed_one_by_one(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.onnx"
    model = onnx.load(write_classifier(file, batch="n"))
    model.graph.node.insert(0, onnx.helper.make_node("Reshape", ["x", "shape"], ["one"]))
    model.graph.node[1].input[0] = "one"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 3, SIDE, SIDE]), "shape"))
    onnx.save(model, file)
    assert add(file, "classify", "--labels", labels) == 0
    assert "one after the other" in capsys.readouterr().out
    answers = await ask(tmp_path / "models", "classify", plain("red"), plain("blue"))
    assert [answer[0]["name"] for answer in answers] == ["red", "blue"]


# ---- detectors ----


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


async def test_a_picture_keeps_its_proportions_before_a_yolo_network(tmp_path: Path, labels: Path) -> None:
    assert add(write_yolo(tmp_path / "a.onnx", objectness=False), "detect", "--labels", labels) == 0
    picture = plain("black", 2 * SIDE, SIDE)
    picture[8:16, 48:56] = plain("green", 8, 8)
    (found,) = await ask(tmp_path / "models", "detect", picture, score_threshold=0.5)
    assert [(entry["name"], entry["box"]) for entry in found] == [("green", [48, 8, 56, 16])]


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
    assert lines[-1].endswith("'localhost:8000/detect?model=theirs'")


# ---- refusals ----


def refused(capsys: pytest.CaptureFixture[str], models: Path) -> str:
    """The message of a refusal, after which nothing is left."""
    assert list(models.rglob("*")) == []
    output, errors = capsys.readouterr()
    assert "added" not in output
    assert errors.startswith("emo-serve: ")
    assert "Traceback" not in errors
    return errors


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


@pytest.mark.parametrize(("task", "words"), [("classify", "one output of scores (N, C)"), ("detect", "depends on")])
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


def test_a_file_that_is_none_and_one_with_weights_elsewhere_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.onnx").write_bytes(b"no graph at all")
    assert add(tmp_path / "a.onnx", "classify") == 1
    assert "is no" in refused(capsys, tmp_path / "models")
    model = onnx.load(write_classifier(tmp_path / "a.onnx"))
    onnx.save(model, tmp_path / "a.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    assert add(tmp_path / "a.onnx", "classify") == 1
    assert "export it as one file" in refused(capsys, tmp_path / "models")


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
    for name in [name for name in sys.modules if name.startswith("app.add.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert add(file, "classify") == 1
    assert "pip install 'emo-serve[add]'" in refused(capsys, tmp_path / "models")
