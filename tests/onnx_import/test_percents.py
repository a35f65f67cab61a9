"""Scores of 0..100 are hundredths of probabilities: seen where they sum to 100, asked about where that is not so."""

from pathlib import Path

import numpy as np
import pytest

from tests.onnx_import.adding import add, ask, refused
from tests.onnx_import.fixed import with_ending, write_fixed, write_linear
from tests.onnx_import.networks import ANCHORS, write_classifier, write_ssd
from tests.support import plain, quadrants

pytestmark = pytest.mark.anyio

AS_IT_IS = ("--mean", "0", "--std", "255", "--resize", "stretch")  # colours in 0..1
PERCENT = ("Mul", 100.0)
WEIGHTS = np.array([[8, 8, 0], [0, 0, 0], [0, 0, 0]], np.float32)
BIAS = np.array([-3, -3, -3], np.float32)
WHAT_HELPS = "say --scores percent where 100 stands for certain, --scores softmax or sigmoid where they are logits"


async def scores_of(tmp_path: Path, colour: str) -> dict[str, float]:
    (answer,) = await ask(tmp_path / "models", "classify", plain(colour))
    return {entry["name"]: entry["score"] for entry in answer}


@pytest.mark.parametrize(
    "operators",
    [[PERCENT], [PERCENT, ("Identity", None)], [PERCENT, ("Abs", None)], [("Div", 0.01)], [PERCENT, ("Max", 0)]],
)
async def test_what_sums_to_100_is_divided_by_it(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str], operators: list[tuple[str, float | None]]
) -> None:
    file = with_ending(write_classifier(tmp_path / "a.onnx", softmax=True), "answer", *operators)
    assert add(file, "classify", *AS_IT_IS, "--labels", labels) == 0
    assert "and sum to 100; they are divided by 100  [--scores]" in capsys.readouterr().out
    wanted = {"red": np.exp(10) / (np.exp(10) + 2), "green": 1 / (np.exp(10) + 2), "blue": 1 / (np.exp(10) + 2)}
    assert await scores_of(tmp_path, "red") == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("operators", [[PERCENT], [PERCENT, ("Round", None)], [PERCENT, ("Abs", None)]])
async def test_what_may_be_percents_of_several_at_a_time_is_asked_about(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str], operators: list[tuple[str, float | None]]
) -> None:
    file = with_ending(write_linear(tmp_path / "a.onnx", WEIGHTS, BIAS, last="Sigmoid"), "y", *operators)
    options = (*AS_IT_IS, "--labels", labels)
    assert add(file, "classify", *options) == 1
    message = refused(capsys, tmp_path / "models")
    assert "they lie in " in message
    assert WHAT_HELPS in message
    assert add(file, "classify", *options, "--scores", "percent") == 0
    strong, weak = 1 / (1 + np.exp(-5)), 1 / (1 + np.exp(3))
    assert await scores_of(tmp_path, "red") == pytest.approx({"red": strong, "green": strong, "blue": weak}, abs=0.005)


async def test_a_single_percent_is_asked_about_and_may_be_of_two_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("ham\nspam\n")
    file = write_linear(tmp_path / "a.onnx", WEIGHTS[:, :1], BIAS[:1], last="Sigmoid")
    with_ending(file, "y", PERCENT)
    assert add(file, "classify", *AS_IT_IS, "--labels", names) == 1
    assert WHAT_HELPS in refused(capsys, tmp_path / "models")
    assert add(file, "classify", *AS_IT_IS, "--labels", names, "--scores", "percent") == 0
    strong = 1 / (1 + np.exp(-5))
    assert await scores_of(tmp_path, "red") == pytest.approx({"spam": strong, "ham": 1 - strong}, abs=1e-4)


def test_probabilities_from_minus_1_to_1_are_no_logits(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_linear(tmp_path / "a.onnx", WEIGHTS, BIAS, last="Sigmoid")
    with_ending(file, "y", ("Mul", 2.0), ("Sub", 1.0))
    assert add(file, "classify", *AS_IT_IS, "--labels", labels) == 1
    assert "or export the graph with scores in 0..1" in refused(capsys, tmp_path / "models")


@pytest.mark.parametrize(("told", "mend"), [("probabilities", "percent"), ("none", "percent")])
def test_percents_that_are_told_to_be_probabilities_are_refused_with_what_they_are(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str], told: str, mend: str
) -> None:
    file = with_ending(write_classifier(tmp_path / "a.onnx", softmax=True), "answer", PERCENT)
    assert add(file, "classify", "--labels", labels, "--scores", told) == 1
    assert f"outside of 0..1; leave it out, or say --scores {mend}" in refused(capsys, tmp_path / "models")


def test_what_is_outside_of_0_to_100_is_no_percent(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_linear(tmp_path / "a.onnx", WEIGHTS, BIAS)
    assert add(file, "classify", *AS_IT_IS, "--labels", labels, "--scores", "percent") == 1
    assert "outside of 0..100; leave it out, or say --scores softmax" in refused(capsys, tmp_path / "models")


async def test_logits_that_are_never_below_0_because_of_their_layer_are_logits(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_linear(tmp_path / "a.onnx", WEIGHTS, BIAS, last="Relu")
    assert add(file, "classify", *AS_IT_IS, "--labels", labels) == 0
    assert "a softmax is added" in capsys.readouterr().out


async def test_a_detector_may_give_percents(tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = with_ending(write_ssd(tmp_path / "a.onnx"), "confidences", PERCENT)
    options = ("--labels", labels, "--mean", "0", "--std", "255", "--resize", "stretch")
    assert add(file, "detect", *options) == 1
    assert WHAT_HELPS in refused(capsys, tmp_path / "models")
    assert add(file, "detect", *options, "--scores", "percent") == 0
    (found,) = await ask(tmp_path / "models", "detect", quadrants("red", "black", "black", "black"), max_detections=1)
    assert (found[0]["name"], found[0]["score"]) == ("red", pytest.approx(1, abs=1e-3))


async def test_a_detector_with_a_background_sums_to_100(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_ssd(tmp_path / "a.onnx", background=True)
    with_ending(file, "confidences", ("Softmax", None), PERCENT)
    options = ("--mean", "0", "--std", "255", "--resize", "stretch", "--box-output", "where")
    assert add(file, "detect", "--labels", labels, *options) == 0
    assert "and sum to 100; they are divided by 100" in capsys.readouterr().out
    (found,) = await ask(tmp_path / "models", "detect", quadrants("red", "black", "black", "black"), max_detections=1)
    score = np.exp(12) / (np.exp(12) + np.exp(6) + 2)
    assert (found[0]["name"], found[0]["score"]) == ("red", pytest.approx(score, abs=1e-3))


@pytest.mark.parametrize("columns", [6, 8])
def test_a_table_with_percents_and_an_objectness_or_lists_of_them_is_refused(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    rng = np.random.default_rng(0)
    table = rng.uniform(1, 60, (1, ANCHORS, columns)).astype(np.float32)
    file = write_fixed(tmp_path / "a.onnx", {"output0": table})
    two = tmp_path / "two.txt"
    two.write_text("cat\ndog\n")
    names = labels if columns == 8 else two
    assert add(file, "detect", "--labels", names) == 1
    assert "or export the graph with scores in 0..1" in refused(capsys, tmp_path / "models")
    if columns == 8:
        assert add(file, "detect", "--labels", names, "--scores", "percent") == 1
        assert "percents do not go with an objectness" in refused(capsys, tmp_path / "models")
