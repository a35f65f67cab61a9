import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from emo.__main__ import main
from emo.data.folders import LabelledFile
from emo.models.preprocessing import MEAN, STD
from emo.training.distillation.cache import cached_rows
from emo.training.distillation.options import Distillation
from emo.training.distillation.targets import dense_targets, teacher_targets
from emo.training.distillation.task import DistillationTask
from emo.training.distillation.teacher import Teacher, find_teacher
from emo.training.distillation.views import cut_view, view_boxes
from emo_serve.labels import read_labels
from emo_serve.manifest import Preprocessing
from tests.emo.datasets import COLOURS, picture, write_folders
from tests.onnx_import.networks import write_classifier

RULE = Preprocessing(mode="crop", height=32, width=32, resize=32, interpolation="bilinear", mean=MEAN, std=STD)


def by_colour(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A teacher that knows the channels: blue, green or red is how much there is of each."""
    amounts = images.astype(np.float32).mean((1, 2))[:, ::-1]
    shares: NDArray[np.float32] = amounts / amounts.sum(1, keepdims=True)
    return shares


TEACHER = Teacher(("blue", "green", "red"), RULE, by_colour, "colours")


def write_unlabelled(root: Path, count: int = 40) -> Path:
    for number in range(count):
        folder = root / f"{number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        picture(list(COLOURS.values())[number % 3], 40, number).save(folder / f"{number}.png")
    return root


def task_of(tmp_path: Path, options: Distillation) -> DistillationTask:
    data, more = write_folders(tmp_path / "photos"), write_unlabelled(tmp_path / "more")
    return DistillationTask.load(TEACHER, data, [more], 48, tmp_path / "cache", options)


def test_rows_that_were_cut_off_go_on_where_they_stopped(tmp_path: Path) -> None:
    starts = []

    def compute(start: int, until: int = 5000) -> Iterator[NDArray[np.float32]]:
        starts.append(start)
        for number in range(start, 5000):
            if number == until:
                raise KeyboardInterrupt
            yield np.array(number, np.float32)

    with pytest.raises(KeyboardInterrupt):
        cached_rows(tmp_path / "a.npy", 5000, (np.float32, ()), lambda start: compute(start, 3000))
    for _ in range(2):
        rows = cached_rows(tmp_path / "a.npy", 5000, (np.float32, ()), compute)
        assert rows.tolist() == list(range(5000))
    assert starts == [0, 2048]


def test_the_first_view_is_the_whole_square_and_the_others_lie_in_it() -> None:
    assert (view_boxes(3, 0) == [0, 0, 1, 1]).all()
    boxes = view_boxes(200, 1)
    assert (boxes >= 0).all()
    assert (boxes <= 1).all()
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    assert 0.2 < area.min() < 0.4
    assert 0.8 < area.max() <= 1
    assert (view_boxes(200, 1) == boxes).all()
    assert (view_boxes(200, 2) != boxes).any()


def test_a_view_is_cut_out_of_the_centre_square() -> None:
    canvas = Image.new("RGB", (80, 40), "red")
    canvas.paste("blue", (20, 0, 60, 40))
    canvas.paste("green", (40, 20, 60, 40))
    view = cut_view(canvas, np.array([0.5, 0.5, 1, 1], np.float32), 16, 16)
    assert view.shape == (16, 16, 3)
    assert (view[1:-1, 1:-1] == [0, 128, 0]).all()  # resizing looks a little past the edges


def test_the_teacher_is_asked_about_the_very_part_that_a_view_shows(tmp_path: Path) -> None:
    canvas = Image.new("RGB", (64, 64), "red")
    canvas.paste("blue", (32, 0, 64, 64))
    canvas.save(tmp_path / "half.png")
    files = [LabelledFile(tmp_path / "half.png", None, -1)] * 50
    answers = teacher_targets(TEACHER, files, 1, tmp_path / "answers.npy")
    for box, answer in zip(view_boxes(50, 1), answers, strict=True):
        blue = np.clip((box[2] - 0.5) / (box[2] - box[0]), 0, 1)
        assert dict(zip(answer["label"], answer["score"], strict=True))[0] == pytest.approx(blue, abs=0.05)


def test_answers_become_probabilities_and_a_temperature_softens_them() -> None:
    answers = np.zeros(1, [("label", "<u2", (2,)), ("score", "<f2", (2,))])
    answers["label"], answers["score"] = [3, 1], [0.75, 0.125]
    assert dense_targets(answers, 6, 1)[0].tolist() == pytest.approx([0.03125, 0.125, 0.03125, 0.75, 0.03125, 0.03125])
    softer = dense_targets(answers, 6, 2)[0]
    assert softer.sum() == pytest.approx(1)
    assert (softer[3] / softer[1]).item() == pytest.approx(6**0.5, rel=1e-3)


def test_true_labels_are_mixed_with_what_the_teacher_says(tmp_path: Path) -> None:
    task = task_of(tmp_path, Distillation(label_weight=0.6))
    labelled = int((task.labels == 2).nonzero()[0][0])
    unlabelled = int((task.labels == -1).nonzero()[0][0])
    inputs, targets = next(iter(task.batches([torch.tensor([labelled, unlabelled])], 32, torch.Generator())))
    assert inputs.shape == (2, 3, 32, 32)
    said = [dense_targets(task.answers[0][[row]], 3, 1)[0] for row in (labelled, unlabelled)]
    assert targets[0].tolist() == pytest.approx((0.4 * said[0] + torch.tensor([0, 0, 0.6])).tolist(), abs=1e-5)
    assert targets[1].tolist() == pytest.approx(said[1].tolist(), abs=1e-5)


def test_classes_that_the_teacher_does_not_know_come_after_its_own(tmp_path: Path) -> None:
    data = write_folders(tmp_path / "photos")
    for split in ("train", "val"):
        shutil.move(data / split / "red", data / split / "crimson")
    task = DistillationTask.load(TEACHER, data, [], 48, tmp_path / "cache", Distillation())
    assert task.names == ("blue", "green", "red", "crimson")
    assert {*task.labels.tolist()} == {0, 1, 3}


def test_a_picture_is_as_frequent_as_its_label_or_else_what_the_teacher_says(tmp_path: Path) -> None:
    task = task_of(tmp_path, Distillation())
    classes = [
        label if label >= 0 else said for label, said in zip(task.labels, task.answers[0]["label"][:, 0], strict=True)
    ]
    assert task.frequencies().tolist() == [classes.count(one) for one in classes]


def test_a_teacher_is_found_by_its_folder_and_by_its_name() -> None:
    repository = Path(__file__).parents[2] / "models"
    by_name, by_folder = (
        find_teacher("emo-1m", repository, Path()),
        find_teacher(str(repository / "emo-1m" / "3"), Path(), Path()),
    )
    assert by_name.names == by_folder.names == read_labels(repository / "emo-1m" / "3" / "labels.txt")
    with pytest.raises(ValueError, match="no model 'nobody'"):
        find_teacher("nobody", repository, Path())
    with pytest.raises(ValueError, match="has to be a classifier"):
        find_teacher("ssdlite-emo-1m", repository, Path())


def test_a_teacher_may_be_an_onnx_file_that_is_described_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_classifier(tmp_path / "colours.onnx")
    teacher = find_teacher(str(file), tmp_path, tmp_path / "cache")
    assert len(teacher.names) == 3
    assert "input" in capsys.readouterr().out
    assert find_teacher(str(file), tmp_path, tmp_path / "cache").digest == teacher.digest
    assert capsys.readouterr().out == ""
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    with pytest.raises(ValueError, match=r"(?s)broken.onnx.*run `emo-serve add` with them"):
        find_teacher(str(tmp_path / "broken.onnx"), tmp_path, tmp_path / "cache")


@pytest.mark.usefixtures("quick_export")
def test_the_command_learns_from_pictures_without_labels_and_publishes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = write_unlabelled(tmp_path / "more")
    command = ["train", "classify", "--teacher", "models/emo-1m/3", "--unlabelled", str(more), "--schedule", "32x1"]
    command += [
        "--teacher-views",
        "2",
        "--out",
        str(tmp_path / "run"),
        "--models",
        str(tmp_path / "models"),
        "--name",
        "student",
    ]
    main(command)
    assert "agreement_top1" in capsys.readouterr().out
    assert (tmp_path / "models" / "student" / "1" / "model.onnx").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["classify", "--unlabelled", "more"], "goes with --teacher"),
        (["classify", "--teacher", "emo-1m"], "--data is missing"),
        (["detect", "--data", "boxes", "--teacher", "emo-1m"], "goes with classify"),
    ],
)
def test_what_does_not_go_together_is_refused(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["train", *arguments])
    assert reason in capsys.readouterr().err
