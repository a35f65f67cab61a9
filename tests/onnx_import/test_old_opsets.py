"""Files of old opsets: converted so that they answer as before, or refused."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.onnx_import.adding import add, ask, refused

pytestmark = pytest.mark.anyio

SIDE = 8
SCALE = (("--mean", "0"), ("--std", "255"), ("--resize", "stretch"))


def write_resizing(
    path: Path, opset: int, mode: str, scales: tuple[float, float], *, kind: str = "Resize", open_scales: bool = False
) -> Path:
    """Logits of three classes, of a picture (1, 3, 8, 8) whose rows and columns are scaled."""
    wide, high = int(SIDE * scales[1]), int(SIDE * scales[0])
    factors = [1.0, 1.0, *scales]
    constants = {"weights": np.random.default_rng(2).normal(size=(3 * wide * high, 3)).astype(np.float32)}
    nodes = []
    if opset < 9:
        nodes.append(helper.make_node(kind, ["x"], ["resized"], mode=mode, scales=factors))
    else:
        constants["given"] = np.array(factors, np.float32)
        nodes += [helper.make_node("Abs", ["given"], ["scales"])] if open_scales else []
        scaled = ["x", "scales" if open_scales else "given"]
        nodes.append(helper.make_node(kind, scaled, ["resized"], mode=mode))
    nodes += [
        helper.make_node("Flatten", ["resized"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "old",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=4)
    onnx.save(model, path)
    return path


def wanted(file: Path, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The softmax of what ONNX Runtime answers to the file itself."""
    tensor = picture.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    logits: NDArray[np.float32] = session.run(None, {"x": tensor})[0][0]
    powers: NDArray[np.float32] = np.exp(logits - logits.max())
    scores: NDArray[np.float32] = powers / powers.sum()
    return scores


@pytest.mark.parametrize(
    ("opset", "kind", "mode", "scales"),
    [
        (10, "Resize", "linear", (2, 2)),
        (10, "Resize", "linear", (0.5, 0.5)),
        (10, "Resize", "nearest", (1.5, 1.5)),
        (10, "Resize", "nearest", (0.4, 0.4)),
        (9, "Upsample", "linear", (3, 2)),
        (9, "Upsample", "nearest", (2, 2)),
        (7, "Upsample", "linear", (2, 2)),
    ],
)
async def test_a_file_of_an_old_opset_is_served_with_the_answers_that_it_gives_itself(
    tmp_path: Path, labels: Path, opset: int, kind: str, mode: str, scales: tuple[float, float]
) -> None:
    file = write_resizing(tmp_path / "a.onnx", opset, mode, scales, kind=kind)
    assert add(file, "classify", "--labels", labels, *(word for pair in SCALE for word in pair)) == 0
    picture = np.random.default_rng(3).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    (answer,) = await ask(tmp_path / "models", "classify", picture)
    scores = {entry["name"]: entry["score"] for entry in answer}
    assert [scores[name] for name in ("red", "green", "blue")] == pytest.approx(wanted(file, picture), abs=1e-4)


def test_a_conversion_that_would_change_the_answers_is_refused(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_resizing(tmp_path / "a.onnx", 10, "nearest", (0.4, 0.4), open_scales=True)
    assert add(file, "classify", "--labels", labels) == 1
    message = refused(capsys, tmp_path / "models")
    assert "it is of opset 10, and converted to 13 its output y is off by" in message
    assert "export it with opset 13 or newer" in message


def test_a_conversion_is_told_with_how_it_was_checked(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert add(write_resizing(tmp_path / "a.onnx", 10, "linear", (2, 2)), "classify", "--labels", labels) == 0
    assert "opset      10, converted to 13: the same answers for 7 pictures" in capsys.readouterr().out
