"""Classifiers as other people export them, added by the command and served by the real application."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.onnx_import.adding import add, ask
from tests.onnx_import.networks import SIDE, write_classifier
from tests.support import plain

pytestmark = pytest.mark.anyio


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


@pytest.mark.parametrize("width", [24, 32])
async def test_the_user_of_an_emo_file_hears_of_the_faster_way(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    file = tmp_path / "a.onnx"
    model = onnx.load(write_classifier(file))
    kernels = [(width, 3, 3, 3), (width, 1, 3, 3), *[(width, width, 1, 1)] * 3]
    for number, shape in enumerate(kernels):  # beside what answers
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(shape, np.float32), f"kernel {number}"))
        names = [f"map {number - 1}" if number else "pixels", f"kernel {number}"]
        node = onnx.helper.make_node("Conv", names, [f"map {number}"], group=width if shape[1] == 1 else 1)
        model.graph.node.append(node)
    onnx.save(model, file)
    assert add(file, "classify", "--labels", labels) == 0
    assert (f"emo import {file} --name theirs-emo" in capsys.readouterr().out) == (width == 24)
