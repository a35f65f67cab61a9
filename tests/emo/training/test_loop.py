import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

import emo
from emo.checkpoints.loader import own_weights, read_checkpoint, restore_own
from emo.export.predict import torch_predict
from emo.training.classification import ClassificationTask
from emo.training.detection import DetectionTask
from emo.training.loop import batch_size, choose_pictures, train
from emo.training.processes import Processes
from emo.training.recipe import Recipe
from emo.training.state import moving_average
from emo_serve.vision.picture import Picture
from emo_serve.vision.preprocess import preprocess
from emo_serve.vision.results import ImageSize
from tests.emo.datasets import write_coco, write_folders, write_plain

RECIPE = Recipe("emo_1m", ((32, 2), (64, 1)), batch_size=4, seed=3)


class KilledError(Exception):
    """Stands for a kill in the middle of a run."""


class Interrupted(ClassificationTask):
    """Is killed while the second epoch is evaluated."""

    def evaluate(self, model: torch.nn.Module, side: int) -> dict[str, float]:
        if getattr(self, "_evaluated", False):
            raise KilledError
        self._evaluated = True
        return super().evaluate(model, side)


class Scripted(ClassificationTask):
    """Is evaluated with figures that were written down before."""

    def follow(self, figures: Iterable[float | tuple[float, float]]) -> "Scripted":
        self._figures = iter(figures)
        return self

    def evaluate(self, model: torch.nn.Module, side: int) -> dict[str, float]:
        del model, side
        figure = next(self._figures)
        return {"top1": figure[0], "val_loss": figure[1]} if isinstance(figure, tuple) else {"top1": figure}


def lines(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "log.csv").read_text().splitlines()))


def last(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(folder / "last.pt", weights_only=True)
    return content


def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    data = write_folders(tmp_path / "data")
    whole = own_weights(read_checkpoint(train(RECIPE, ClassificationTask.load(data, 40), tmp_path / "whole")))
    with pytest.raises(KilledError):
        train(RECIPE, Interrupted.load(data, 40), tmp_path / "killed")
    resumed = own_weights(read_checkpoint(train(RECIPE, ClassificationTask.load(data, 40), tmp_path / "killed")))
    for key, tensor in whole.items():
        torch.testing.assert_close(resumed[key], tensor)
    rows = lines(tmp_path / "killed")
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [row["side"] for row in rows] == ["32", "32", "64"]
    assert [row["kept"] for row in rows] == ["0", "0", "1"]  # a figure at another side than the last does not count
    assert (tmp_path / "killed" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_balance_shows_rare_kinds_as_often_as_frequent_ones() -> None:
    rare = torch.arange(50) < 5
    choose = partial(choose_pictures, 50, lambda: torch.where(rare, 5, 45))
    generator = torch.Generator().manual_seed(0)
    chosen = choose(replace(RECIPE, balance=1.0, epoch_pictures=2000), generator)
    assert len(chosen) == 2000
    assert 0.45 < rare[chosen].float().mean() < 0.55
    some = choose(replace(RECIPE, epoch_pictures=30), generator)
    assert len({*some.tolist()}) == 30
    assert sorted(choose(RECIPE, generator).tolist()) == list(range(50))


def test_frozen_stages_stay_as_they_began(tmp_path: Path) -> None:
    data = write_folders(tmp_path / "data")
    initial = emo.create("emo_1m", 3).state_dict()
    recipe = replace(RECIPE, frozen_stages=2)
    weights = own_weights(read_checkpoint(train(recipe, ClassificationTask.load(data, 40), tmp_path / "run", initial)))
    for number in range(5):
        keys = [key for key in weights if key.startswith(f"backbone.stages.{number}.")]
        assert any("running_mean" in key for key in keys)
        assert all(torch.equal(weights[key], initial[key]) for key in keys) == (number < 2)


def test_mosaics_are_closed_for_the_last_epochs(tmp_path: Path) -> None:
    class Watching(ClassificationTask):
        seen: ClassVar[list[bool]] = []

        def batches(
            self, rows: Sequence[Tensor], side: int, generator: torch.Generator, *, mosaics: bool = True
        ) -> Iterator[tuple[Tensor, Tensor]]:
            self.seen.append(mosaics)
            return super().batches(rows, side, generator, mosaics=mosaics)

    recipe = replace(RECIPE, schedule=((32, 3),), close_mosaic=2)
    train(recipe, Watching.load(write_folders(tmp_path / "data"), 40), tmp_path / "run")
    assert Watching.seen == [True, False, False]


@pytest.mark.parametrize(
    ("figures", "kept"),
    [
        ([(0.5, 0.9), (1.0, 0.8), (1.0, 0.2), (1.0, 0.3)], 3),  # of equal figures the lower loss
        ([(1.0, 0.2), (1.0, 0.2), (1.0, 0.2), (0.9, 0.1)], 3),  # of equal losses the later epoch
        ([(0.7, 0.5), (0.7, math.nan), (0.6, 0.1), (0.7, 0.6)], 1),
        ([(0.7, math.nan), (0.7, 0.9), (0.5, 0.1), (0.1, 0.1)], 2),
        ([0.7, 0.7, 0.6, 0.6], 2),  # of a task that tells no loss
    ],
)
def test_of_equal_epochs_the_one_of_the_lower_validation_loss_is_kept_and_then_the_later(
    figures: list[float | tuple[float, float]], kept: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, recipe = write_folders(tmp_path / "data"), Recipe("emo_1m", ((32, 4),), batch_size=12)
    half = Scripted.load(data, 40).follow(figures[:2])
    with pytest.raises(StopIteration):  # a kill after the second epoch
        train(recipe, half, tmp_path / "run")
    weights = train(recipe, Scripted.load(data, 40).follow(figures[2:]), tmp_path / "run")
    assert read_checkpoint(weights)["epoch"] == kept
    assert [row["epoch"] for row in lines(tmp_path / "run") if row["kept"] == "1"] == [str(kept)]
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
    assert [line.split(":")[0] for line in told] == [f"epoch {epoch}/4" for epoch in range(1, 5)]
    assert f"top1 {0.6:.4f}" in told[2] or figures[2] != 0.6
    assert told[kept - 1].endswith(", the best")


def test_the_validation_loss_is_that_of_the_averaged_weights_and_is_written_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = ClassificationTask.load(write_folders(tmp_path / "data"), 64)
    weights = train(Recipe("emo_1m", ((64, 2),), batch_size=4), task, tmp_path / "run")
    restored = restore_own(read_checkpoint(weights))
    predict = torch_predict(restored.model.eval())
    losses = []
    for picture, label in task.validation.pictures("check"):
        pixels = preprocess(Picture(picture, ImageSize(*picture.size)), restored.rule)[0]
        losses.append(-math.log(predict(pixels[None])[0][0, label]))
    (row,) = [row for row in lines(tmp_path / "run") if row["kept"] == "1"]
    assert float(row["val_loss"]) == pytest.approx(sum(losses) / len(losses), rel=1e-3)
    assert f"val_loss {float(row['val_loss']):.4f}" in capsys.readouterr().out


def test_patience_ends_the_run_when_no_epoch_is_better(tmp_path: Path) -> None:
    data = write_folders(tmp_path / "data")
    recipe = Recipe("emo_1m", ((32, 9),), batch_size=12, patience=2)
    figures = [(0.7, 0.5), (0.7, 0.4), (0.7, 0.4), (0.6, 0.3), (0.9, 0.1)]  # as good as the best is no better
    with pytest.raises(StopIteration):  # a kill after the second epoch
        train(recipe, Scripted.load(data, 40).follow(figures[:2]), tmp_path / "run")
    weights = train(recipe, Scripted.load(data, 40).follow(figures[2:]), tmp_path / "run")
    assert [row["epoch"] for row in lines(tmp_path / "run")] == ["1", "2", "3", "4"]
    assert read_checkpoint(weights)["epoch"] == 3
    assert train(recipe, Scripted.load(data, 40).follow([]), tmp_path / "run") == weights  # nothing is left to do


def test_a_folder_with_another_recipe_or_other_data_is_refused(tmp_path: Path) -> None:
    task = ClassificationTask.load(write_folders(tmp_path / "data"), 40)
    train(Recipe("emo_1m", ((32, 1),), batch_size=4), task, tmp_path / "run")
    with pytest.raises(ValueError, match=r"another recipe \(batch_size was 4 and is 8\)"):
        train(Recipe("emo_1m", ((32, 1),), batch_size=8), task, tmp_path / "run")
    more = ClassificationTask.load(write_folders(tmp_path / "more", 5), 40)
    with pytest.raises(ValueError, match=r"other data \(12 pictures of 3 classes, now 15 of 3\)"):
        train(Recipe("emo_1m", ((32, 1),), batch_size=4), more, tmp_path / "run")


def test_fewer_pictures_than_a_batch_are_one_batch(tmp_path: Path) -> None:
    task = ClassificationTask.load(write_plain(tmp_path / "data", 2), 40)  # one of each class
    train(Recipe("emo_1m", ((64, 2),), batch_size=128), task, tmp_path / "run")
    assert last(tmp_path / "run")["optimizer"]["state"][0]["step"] == 2


@pytest.mark.parametrize(
    ("wanted", "pictures", "count", "found"), [(128, 160, 1, 128), (128, 40, 1, 40), (8, 100, 2, 8), (128, 41, 2, 40)]
)
def test_a_batch_is_shared_evenly(wanted: int, pictures: int, count: int, found: int) -> None:
    assert batch_size(Recipe("emo_1m", ((32, 1),), wanted), pictures, Processes(0, count)) == found


@pytest.mark.parametrize(
    ("wanted", "pictures", "count", "reason"),
    [(9, 99, 2, "cannot be shared evenly by 2"), (128, 3, 2, "needs two or more"), (1, 9, 1, "needs two or more")],
)
def test_a_batch_that_cannot_be_shared_is_refused(wanted: int, pictures: int, count: int, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        batch_size(Recipe("emo_1m", ((32, 1),), wanted), pictures, Processes(0, count))


@pytest.mark.parametrize("model", ["emo_1m", "ssdlite_emo_1m"])
def test_bfloat16_learns_nearly_what_float32_does_and_keeps_float32_weights(model: str, tmp_path: Path) -> None:
    task = (
        ClassificationTask.load(write_folders(tmp_path / "data"), 40)
        if model == "emo_1m"
        else DetectionTask.load(write_coco(tmp_path / "data"))
    )
    losses = {}
    for precision in ("float32", "bfloat16"):
        recipe = Recipe(model, ((64, 1),), batch_size=4, precision=precision)
        train(recipe, task, tmp_path / precision)
        losses[precision] = float(lines(tmp_path / precision)[0]["loss"])
        assert last(tmp_path / precision)["model"]["backbone.stages.0.0.weight"].dtype == torch.float32
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.05)
    assert losses["bfloat16"] != losses["float32"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_float16_without_a_gpu_is_refused(tmp_path: Path) -> None:
    task = ClassificationTask.load(write_folders(tmp_path / "data"), 40)
    with pytest.raises(ValueError, match="float16 needs a GPU"):
        train(Recipe("emo_1m", ((32, 1),), batch_size=4, precision="float16"), task, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_no_number_ends_the_run_with_advice(tmp_path: Path) -> None:
    task = ClassificationTask.load(write_folders(tmp_path / "data"), 40)
    with pytest.raises(ValueError, match="try a lower learning rate"):
        train(Recipe("emo_1m", ((32, 1),), batch_size=4, learning_rate=1e30, warmup=1e-9), task, tmp_path / "run")


def test_the_moving_average_forgets_its_random_start() -> None:
    update = moving_average(0.999)
    average = torch.tensor(100.0)
    for step in range(200):
        average = update(average, torch.tensor(1.0), step)
    assert average == pytest.approx(1.0, abs=1e-3)
    assert update(torch.tensor(3), torch.tensor(9), 5) == 9
