"""Scores and labels that stand for no object."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.onnx_import.adding import add, ask, refused
from tests.onnx_import.fixed import SIDE, write_fixed
from tests.support import plain

pytestmark = pytest.mark.anyio

QUERIES = 40


def write_detr(path: Path, *, place: int = -1, classes: int = 4) -> Path:
    """One object, of class 0, and 39 times none: logits (1, 40, 4 + 1) for a softmax."""
    rng = np.random.default_rng(4)
    logits = rng.normal(0, 1, (1, QUERIES, classes)).astype(np.float32)
    logits[0, 7] = 0
    logits[0, 7, 0] = 7
    nothing: NDArray[np.float32] = np.full((1, QUERIES, 1), 6, np.float32)
    nothing[0, 7] = 0
    parts = [nothing, logits] if place == 0 else [logits, nothing]
    boxes = np.concatenate([rng.uniform(0.3, 0.7, (1, QUERIES, 2)), rng.uniform(0.1, 0.2, (1, QUERIES, 2))], axis=2)
    answers = {"logits": np.concatenate(parts, axis=2), "pred_boxes": boxes.astype(np.float32)}
    return write_fixed(path, answers)


def names_of(tmp_path: Path, *names: str) -> Path:
    path = tmp_path / "names.txt"
    path.write_text("\n".join(names) + "\n", encoding="utf-8")
    return path


SURE = float(np.exp(7) / (np.exp(7) + 4))


@pytest.mark.parametrize("place", [-1, 0])
@pytest.mark.parametrize(
    "names",
    [
        ("cat", "N/A", "dog", "N/A"),
        ("cat", "cow", "dog", "fox"),
        (),
    ],
)
async def test_no_object_is_no_class(tmp_path: Path, place: int, names: tuple[str, ...]) -> None:
    file = write_detr(tmp_path / "a.onnx", place=place)
    assert add(file, "detect", *(("--labels", names_of(tmp_path, *names)) if names else ())) == 0
    (answer,) = await ask(tmp_path / "models", "detect", plain("red", SIDE, SIDE), score_threshold=0.2)
    first, *others = answer
    assert first["name"] == ("cat" if names else "class 0")
    assert first["score"] == pytest.approx(SURE, abs=1e-4)
    assert others == []
    served = (tmp_path / "models/theirs/1/labels.txt").read_text().split("\n")[:-1]
    assert served == ([name for name in names if name != "N/A"] or [f"class {number}" for number in range(4)])


@pytest.mark.parametrize(
    ("place", "names"),
    [
        (-1, ("cat", "cow", "dog", "fox", "no object")),
        (-1, ("cat", "cow", "dog", "fox", "N/A")),
        (0, ("background", "cat", "cow", "dog", "fox")),
        (0, ("???", "cat", "cow", "dog", "fox")),
        (0, ("N/A", "cat", "N/A", "dog", "N/A")),
    ],
)
async def test_a_label_of_no_object_is_left_out(tmp_path: Path, place: int, names: tuple[str, ...]) -> None:
    file = write_detr(tmp_path / "a.onnx", place=place)
    assert add(file, "detect", "--labels", names_of(tmp_path, *names)) == 0
    (answer,) = await ask(tmp_path / "models", "detect", plain("red", SIDE, SIDE))
    assert [entry["name"] for entry in answer] == ["cat"]
    assert answer[0]["score"] == pytest.approx(SURE, abs=1e-4)


def test_as_many_labels_as_scores_are_believed_but_a_doubt_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_detr(tmp_path / "a.onnx")
    assert add(file, "detect", "--labels", names_of(tmp_path, "cat", "cow", "dog", "fox", "hen")) == 0
    output = capsys.readouterr().out
    assert "the last score is the best of 98% of the boxes: if that stands for no object, leave out its label" in output
    assert add(file, "detect", "--labels", names_of(tmp_path, "cat", "cow", "dog", "fox"), "--version", "2") == 0
    assert "the last score, the best of 98% of the boxes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("background", "names", "words"),
    [
        ("last", ("cat", "cow", "dog", "fox", "hen"), "5 labels and 5 scores a box: leave it out"),
        ("none", ("cat", "cow", "dog", "fox"), "4 labels and 5 scores a box: the labels are those of all other scores"),
    ],
)
def test_a_background_that_does_not_fit_the_labels_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], background: str, names: tuple[str, ...], words: str
) -> None:
    file = write_detr(tmp_path / "a.onnx")
    assert add(file, "detect", "--labels", names_of(tmp_path, *names), "--background", background) == 1
    assert words in refused(capsys, tmp_path / "models")


async def test_sigmoid_scores_that_are_low_everywhere_have_no_background(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    logits = rng.normal(-6, 1, (1, QUERIES, 4)).astype(np.float32)
    logits[..., 0] += 3  # the best of most boxes, and yet nothing
    logits[0, 7, 0] = 3
    boxes = np.concatenate([rng.uniform(0.3, 0.7, (1, QUERIES, 2)), rng.uniform(0.1, 0.2, (1, QUERIES, 2))], axis=2)
    file = write_fixed(tmp_path / "a.onnx", {"logits": logits, "pred_boxes": boxes.astype(np.float32)})
    assert add(file, "detect") == 0
    (answer,) = await ask(tmp_path / "models", "detect", plain("red", SIDE, SIDE))
    assert [entry["name"] for entry in answer] == ["class 0"]
    assert answer[0]["score"] == pytest.approx(1 / (1 + np.exp(-3)), abs=1e-4)


async def test_numbers_without_a_class_are_passed_over_in_lists(tmp_path: Path) -> None:
    boxes = np.array([[[4, 4, 20, 20], [30, 30, 60, 60], [8, 40, 20, 60]]], np.float32)
    scores = np.array([[0.9, 0.8, 0.7]], np.float32)
    classes = np.array([[2, 0, 1]], np.int64)
    file = write_fixed(tmp_path / "a.onnx", {"boxes": boxes, "scores": scores, "classes": classes})
    assert add(file, "detect", "--labels", names_of(tmp_path, "cat", "N/A", "dog")) == 0
    (answer,) = await ask(tmp_path / "models", "detect", plain("red", SIDE, SIDE))
    assert [(entry["name"], round(entry["score"], 3)) for entry in answer] == [("dog", 0.9), ("cat", 0.8)]
