"""Scores that are served are probabilities, whatever the network gives: in 0..1, and those it was made for."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.onnx_import.adding import add, ask, refused
from tests.onnx_import.fixed import SIDE, write_linear
from tests.support import encode_image, plain

pytestmark = pytest.mark.anyio

AS_IT_IS = ("--mean", "0", "--std", "255", "--resize", "stretch")  # colours in 0..1
RED = np.array([[4], [0], [0]], np.float32)
SEVERAL = np.array([[8, 8, 0], [0, 0, 0], [0, 0, 0]], np.float32)


def sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))


def names_of(tmp_path: Path, *names: str) -> Path:
    path = tmp_path / "names.txt"
    path.write_text("\n".join(names) + "\n", encoding="utf-8")
    return path


async def scores_of(tmp_path: Path, colour: str) -> dict[str, float]:
    (answer,) = await ask(tmp_path / "models", "classify", plain(colour))
    return {entry["name"]: entry["score"] for entry in answer}


async def test_one_logit_gets_a_sigmoid(tmp_path: Path) -> None:
    file = write_linear(tmp_path / "a.onnx", RED, np.array([-1], np.float32))
    assert add(file, "classify", *AS_IT_IS, "--labels", names_of(tmp_path, "spam")) == 0
    assert await scores_of(tmp_path, "red") == {"spam": pytest.approx(sigmoid(3), abs=1e-4)}
    assert await scores_of(tmp_path, "blue") == {"spam": pytest.approx(sigmoid(-1), abs=1e-4)}


def test_a_graph_whose_softmax_is_over_one_score_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_linear(tmp_path / "a.onnx", RED, np.array([-1], np.float32), last="Softmax")
    assert add(file, "classify", *AS_IT_IS) == 1
    assert "over a single score, so it is always 1" in refused(capsys, tmp_path / "models")


@pytest.mark.parametrize("last", [None, "Sigmoid"])
async def test_one_score_of_two_labels_is_that_of_the_second(tmp_path: Path, last: str | None) -> None:
    file = write_linear(tmp_path / "a.onnx", RED, np.array([-1], np.float32), last=last)
    assert add(file, "classify", *AS_IT_IS, "--labels", names_of(tmp_path, "ham", "spam")) == 0
    wanted = {"spam": pytest.approx(sigmoid(3), abs=1e-4), "ham": pytest.approx(1 - sigmoid(3), abs=1e-4)}
    assert await scores_of(tmp_path, "red") == wanted


async def test_one_logit_without_an_axis_of_its_own_is_a_score_too(tmp_path: Path) -> None:
    file = tmp_path / "a.onnx"
    model = onnx.load(write_linear(file, RED, np.array([-1], np.float32)))
    model.graph.node[-1].output[0] = "column"
    model.graph.node.append(helper.make_node("Squeeze", ["column", "last"], ["y"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1]), "last"))
    del model.graph.output[0].type.tensor_type.shape.dim[1]
    onnx.save(model, file)
    assert add(file, "classify", *AS_IT_IS) == 0
    assert await scores_of(tmp_path, "red") == {"class 0": pytest.approx(sigmoid(3), abs=1e-4)}


async def test_several_labels_at_a_time_get_a_sigmoid_on_request(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_linear(tmp_path / "a.onnx", SEVERAL, np.array([-3, -3, -3], np.float32))
    assert add(file, "classify", *AS_IT_IS, "--labels", labels) == 0
    assert "--scores sigmoid where several may hold" in capsys.readouterr().out
    assert add(file, "classify", *AS_IT_IS, "--labels", labels, "--scores", "sigmoid", "--version", "2") == 0
    wanted = {"red": sigmoid(5), "green": sigmoid(5), "blue": sigmoid(-3)}
    assert await scores_of(tmp_path, "red") == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("told", ["none", "probabilities"])
def test_what_is_outside_of_0_to_1_cannot_be_told_to_be_probabilities(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str], told: str
) -> None:
    file = write_linear(tmp_path / "a.onnx", SEVERAL, np.array([-3, -3, -3], np.float32))
    assert add(file, "classify", *AS_IT_IS, "--labels", labels, "--scores", told) == 1
    assert "outside of 0..1; leave it out, or say --scores softmax" in refused(capsys, tmp_path / "models")
    assert add(file, "classify", *AS_IT_IS, "--labels", labels, "--scores", "softmax") == 0


def test_a_softmax_of_one_score_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_linear(tmp_path / "a.onnx", RED, np.array([-1], np.float32))
    assert add(file, "classify", *AS_IT_IS, "--scores", "softmax") == 1
    assert "say --scores sigmoid" in refused(capsys, tmp_path / "models")
    assert add(file, "classify", *AS_IT_IS, "--scores", "sigmoid") == 0


@pytest.mark.parametrize("last", [None, "Relu"])
async def test_logits_that_happen_to_lie_within_0_to_1_are_logits_all_the_same(
    tmp_path: Path, labels: Path, last: str | None
) -> None:
    weights = np.array([[0.6, 0, 0], [0, 0.5, 0], [0, 0, 0.4]], np.float32)
    file = write_linear(tmp_path / "a.onnx", weights, np.array([0.1, 0.2, 0.1], np.float32), last=last)
    assert add(file, "classify", *AS_IT_IS, "--labels", labels) == 0
    logits = np.array([0.7, 0.2, 0.1])
    softmax = np.exp(logits) / np.exp(logits).sum()
    wanted = dict(zip(("red", "green", "blue"), softmax, strict=True))
    assert await scores_of(tmp_path, "red") == pytest.approx(wanted, abs=1e-4)


async def test_a_score_never_exceeds_1_though_it_did_so_for_no_picture_while_adding(
    tmp_path: Path, labels: Path
) -> None:
    file = tmp_path / "a.onnx"  # the mean over the picture, cubed and raised: above 1 for plain white alone
    model = onnx.load(write_linear(file, np.eye(3, dtype=np.float32), np.zeros(3, np.float32)))
    model.graph.node[-1].output[0] = "means of colours"
    model.graph.node.append(helper.make_node("Pow", ["means of colours", "power"], ["cubed"]))
    model.graph.node.append(helper.make_node("Mul", ["cubed", "factor"], ["y"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array(3, np.float32), "power"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(2, np.float32), "factor"))
    onnx.save(model, file)
    assert add(file, "classify", *AS_IT_IS, "--labels", labels) == 0
    assert await scores_of(tmp_path, "white") == {"red": 1, "green": 1, "blue": 1}


async def test_pictures_with_answers_that_are_not_finite_decide_nothing(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.onnx"  # which divides by the deviation of the picture: 0 / 0 where that is uniform
    model = onnx.load(write_linear(file, np.eye(3, dtype=np.float32) * 5, np.zeros(3, np.float32)))
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1, 2, 3]),
        helper.make_node("Sub", ["x", "mean"], ["away"]),
        helper.make_node("Mul", ["away", "away"], ["squares"]),
        helper.make_node("ReduceMean", ["squares"], ["variance"], axes=[1, 2, 3]),
        helper.make_node("Sqrt", ["variance"], ["deviation"]),
        helper.make_node("Div", ["away", "deviation"], ["standard"]),
    ]
    model.graph.node[0].input[0] = "standard"
    kept = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *kept])
    onnx.save(model, file)
    assert add(file, "classify", *AS_IT_IS, "--labels", labels) == 0
    output = capsys.readouterr().out
    assert "NaN or infinity for a black picture" in output
    assert "a softmax is added" in output
    assert "batch      open" in output
    (tmp_path / "black.png").write_bytes(encode_image(plain("black")))
    options = ("--labels", labels, "--version", "2", "--photo", tmp_path / "black.png")
    assert add(file, "classify", *AS_IT_IS, *options) == 0
    assert "  nothing: output 'scores' holds NaN or infinity" in capsys.readouterr().out
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    picture[:32, :, 0] = 200
    (answer,) = await ask(tmp_path / "models", "classify", picture)
    assert answer[0]["name"] == "red"
    assert sum(entry["score"] for entry in answer) == pytest.approx(1, abs=1e-3)


def test_a_network_that_never_gives_a_number_is_refused(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_linear(tmp_path / "a.onnx", np.full((3, 3), np.inf, np.float32), np.zeros(3, np.float32))
    assert add(file, "classify", "--labels", labels) == 1
    assert "NaN or infinity whatever the picture; are --mean and --std" in refused(capsys, tmp_path / "models")


# ---- several heads ----


def write_two_heads(path: Path) -> Path:
    model = onnx.load(write_linear(path, np.eye(3, 4, dtype=np.float32) * 5, np.zeros(4, np.float32)))
    model.graph.node.append(helper.make_node("Relu", ["means"], ["features"]))
    model.graph.output.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 3]))
    onnx.save(model, path)
    return path


async def test_the_head_with_the_scores_is_chosen_by_the_option_or_by_the_number_of_labels(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_two_heads(tmp_path / "a.onnx")
    assert add(file, "classify") == 1
    message = refused(capsys, tmp_path / "models")
    assert "Say it with --score-output; it may be y (4 scores) or features (3 scores)" in message
    assert add(file, "classify", *AS_IT_IS, "--score-output", "y") == 0
    assert len(await scores_of(tmp_path, "red")) == 4
    assert add(file, "classify", *AS_IT_IS, "--labels", labels, "--version", "2") == 0
    assert "output     features, 3 classes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "nothing",
            "--score-output nothing is no output of scores (N, C); there is y (4 scores) or features (3 scores)",
        ),
        ("y", "there are 3 labels, but the graph gives 4 scores"),
    ],
)
def test_a_head_that_is_not_there_or_does_not_fit_is_refused(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str], name: str, words: str
) -> None:
    file = write_two_heads(tmp_path / "a.onnx")
    assert add(file, "classify", "--labels", labels, "--score-output", name) == 1
    assert words in refused(capsys, tmp_path / "models")
