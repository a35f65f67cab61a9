"""What networks are fed: colours or grey, and besides the picture its size."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.onnx_import.adding import add, ask, refused
from tests.onnx_import.fixed import SIDE, write_fixed, write_linear
from tests.onnx_import.networks import write_classifier
from tests.support import plain

pytestmark = pytest.mark.anyio

LUMA = np.array([0.299, 0.587, 0.114])


@pytest.mark.parametrize("shape", [("n", 1, 28, 28), ("n", 28, 28, 1), (1, 1, 28, 28)])
@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.UINT8])
async def test_a_network_of_one_channel_is_fed_grey(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str], shape: tuple[str | int, ...], dtype: int
) -> None:
    scale = 1 if dtype == TensorProto.FLOAT else 1 / 255
    weights = (np.array([[3.0, -2, 1]]) * scale).astype(np.float32)
    file = write_linear(tmp_path / "a.onnx", weights, np.zeros(3, np.float32), shape=shape, dtype=dtype)
    assert add(file, "classify", "--labels", labels) == 0
    output = capsys.readouterr().out
    assert "channels   grey (there is one)  [--channels]" in output
    assert "colours    0" in output
    picture = np.full((40, 50, 3), (200, 30, 90), np.uint8)
    (answer,) = await ask(tmp_path / "models", "classify", picture)
    logits = LUMA @ (200, 30, 90) / 255 * np.array([3, -2, 1])
    wanted = dict(zip(("red", "green", "blue"), np.exp(logits) / np.exp(logits).sum(), strict=True))
    assert {entry["name"]: entry["score"] for entry in answer} == pytest.approx(wanted, abs=3e-3)


async def test_a_mean_of_grey_is_one_number(tmp_path: Path) -> None:
    weights = np.array([[1.0, -1.0]], np.float32)
    file = write_linear(tmp_path / "a.onnx", weights, np.zeros(2, np.float32), shape=("n", 1, 28, 28))
    assert add(file, "classify", "--mean", "0.1307", "--std", "0.3081", "--resize", "stretch") == 0
    (answer,) = await ask(tmp_path / "models", "classify", plain("white"))
    logit = (1 - 0.1307) / 0.3081
    assert answer[0] == {"label": 0, "name": "class 0", "score": pytest.approx(1 / (1 + np.exp(-2 * logit)), abs=1e-3)}


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        (("n", 4, 32, 32), (), "has no axis of 3 colours, or of 1 for grey, first or last; no others are served"),
        (("n", 4, 32, 32), ("--layout", "nchw"), "first or last, as --layout nchw says"),
        (("n", 1, 32, 32), ("--channels", "bgr"), "first or last, as --channels bgr says"),
        (("n", 3, 32, 32), ("--channels", "grey"), "first or last, as --channels grey says"),
        (("n", 3, 32, 3), (), "say it with --layout nchw or --layout nhwc"),
    ],
)
def test_channels_that_nobody_can_serve_are_refused_without_false_advice(
    tmp_path: Path,
    labels: Path,
    capsys: pytest.CaptureFixture[str],
    shape: tuple[str | int, ...],
    options: tuple[str, ...],
    words: str,
) -> None:
    weights = np.ones((int(shape[1]), 3), np.float32)
    file = write_linear(tmp_path / "a.onnx", weights, np.zeros(3, np.float32), shape=shape)
    assert add(file, "classify", "--labels", labels, *options) == 1
    assert words in refused(capsys, tmp_path / "models")
    if shape == ("n", 3, 32, 3):
        assert add(file, "classify", "--labels", labels, "--layout", "nchw") == 0


@pytest.mark.parametrize(
    "options",
    [
        ("--size", "5000"),
        ("--size", "0"),
        ("--resize", "20"),
        ("--resize", "9999"),
        ("--mean", "nan", "--std", "1"),
        ("--mean", "0", "--std", "inf"),
        ("--resize", "fit", "--padding", "300"),
        ("--padding", "3"),
    ],
)
def test_numbers_out_of_range_are_refused_with_what_is_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    file = write_classifier(tmp_path / "a.onnx", side="side")
    sized = () if "--size" in options else ("--size", "32")
    assert add(file, "classify", *sized, *options) == 1
    assert str(file) in refused(capsys, tmp_path / "models")


@pytest.mark.parametrize("options", [("--size", "2x"), ("--mean", "1,2"), ("--resize", "half")])
def test_what_is_no_number_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit):
        add(write_classifier(tmp_path / "a.onnx"), "classify", *options)
    assert f"argument {options[0]}: {options[1]!r} is no" in capsys.readouterr().err


# ---- RT-DETR and D-FINE ----


def write_told(path: Path, *, dtype: int = TensorProto.INT64, batch: str | int = "n") -> Path:
    """Lists of a network that wants to be told the width and height of its pictures, as RT-DETR and D-FINE do.

    One object in each picture: the box, in shares of the picture, does not move; its score is the mean of red.
    """
    shape = (batch, 3, SIDE, SIDE)
    file = write_linear(path, np.eye(3, 1, dtype=np.float32), np.zeros(1, np.float32), shape=shape)
    model = onnx.load(file)
    graph, name = model.graph, "orig_target_sizes"
    graph.node[-1].output[0] = "scores"
    graph.input.append(helper.make_tensor_value_info(name, dtype, [batch, 2]))
    graph.node.extend(
        [
            helper.make_node("Cast", [name], ["sizes"], to=TensorProto.FLOAT),
            helper.make_node("Concat", ["sizes", "sizes"], ["sides"], axis=1),
            helper.make_node("Unsqueeze", ["sides", "one"], ["rows"]),
            helper.make_node("Mul", ["rows", "box"], ["boxes"]),
            helper.make_node("Cast", ["scores"], ["whole"], to=TensorProto.INT64),
            helper.make_node("Mul", ["whole", "none"], ["no"]),
            helper.make_node("Add", ["no", "two"], ["labels"]),
        ]
    )
    constants = {
        "one": np.array([1]),
        "box": np.array([0.25, 0.125, 0.5, 1], np.float32),
        "none": np.array(0),
        "two": np.array(2),
    }
    graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in constants.items())
    del graph.output[:]
    graph.output.extend(
        [
            helper.make_tensor_value_info("labels", TensorProto.INT64, [batch, 1]),
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [batch, 1, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, 1]),
        ]
    )
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("dtype", "batch"),
    [(TensorProto.INT64, "n"), (TensorProto.INT32, "n"), (TensorProto.FLOAT, "n"), (TensorProto.INT64, 1)],
)
async def test_a_network_that_is_told_sizes_is_served_in_pixels_of_each_picture(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str], dtype: int, batch: str | int
) -> None:
    assert add(write_told(tmp_path / "a.onnx", dtype=dtype, batch=batch), "detect", "--labels", labels) == 0
    output = capsys.readouterr().out
    assert f"is told {SIDE}, {SIDE} of every picture" in output
    assert f"batch      {'open' if batch == 'n' else 1}" in output
    pictures = [np.full((80, 160, 3), (red, 0, 0), np.uint8) for red in (204, 255)]
    answers = await ask(tmp_path / "models", "detect", *pictures)
    for answer, score in zip(answers, (0.8, 1.0), strict=True):
        assert [entry["name"] for entry in answer] == ["blue"]
        assert answer[0]["box"] == pytest.approx([40, 10, 80, 80], abs=0.01)
        assert answer[0]["score"] == pytest.approx(score, abs=2e-3)


def test_other_second_inputs_are_refused_by_name(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, dtype in (("threshold", TensorProto.FLOAT), ("sizes", TensorProto.STRING)):
        file = write_fixed(tmp_path / "a.onnx", {"y": np.zeros((1, 3), np.float32)})
        model = onnx.load(file)
        model.graph.input.append(helper.make_tensor_value_info(name, dtype, [1, 2]))
        onnx.save(model, file)
        assert add(file, "classify", "--labels", labels) == 1
        message = refused(capsys, tmp_path / "models")
        assert "a name such as orig_target_sizes" in message
        assert f"{name} " in message


# ---- YOLOv5 of one class, whose probabilities float16 rounds to 1 ----


@pytest.mark.parametrize("size", [8, 40])  # the larger ones might be corners
async def test_probabilities_that_are_rounded_are_no_numbers_of_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], size: int
) -> None:
    rng = np.random.default_rng(3)
    table = np.zeros((1, 50, 6), np.float16)
    table[0, :, :2] = rng.uniform(28, 36, (50, 2))
    table[0, :, 2:4] = rng.uniform(size - 2, size + 2, (50, 2))
    table[0, :, 4] = 0.001
    table[0, 3] = (32, 24, size, size, 0.9, 1)
    table[0, :, 5] = 1
    (tmp_path / "names.txt").write_text("plate\n")
    file = write_fixed(tmp_path / "a.onnx", {"output0": table})
    assert add(file, "detect", "--labels", tmp_path / "names.txt") == 0
    assert "an objectness, then the scores" in capsys.readouterr().out
    manifest = json.loads((tmp_path / "models/theirs/1/manifest.json").read_text())
    assert manifest["detection"]["iou_threshold"] < 1  # nobody has suppressed anything
    (answer,) = await ask(tmp_path / "models", "detect", plain("red", SIDE, SIDE))
    assert [entry["name"] for entry in answer] == ["plate"]
    assert answer[0]["box"] == pytest.approx([32 - size / 2, 24 - size / 2, 32 + size / 2, 24 + size / 2], abs=0.05)
    assert answer[0]["score"] == pytest.approx(0.9, abs=1e-3)
