import csv
from pathlib import Path

import pytest
import torch
from emo.train import Recipe, moving_average, parse_schedule, train

from emo.classification import ClassificationTask
from emo.detection import DetectionTask
from tests.emo.datasets import write_coco, write_folders

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


def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    data = write_folders(tmp_path / "data")
    whole = train(RECIPE, ClassificationTask.load(data, 40), tmp_path / "whole")
    with pytest.raises(KilledError):
        train(RECIPE, Interrupted.load(data, 40), tmp_path / "killed")
    resumed = train(RECIPE, ClassificationTask.load(data, 40), tmp_path / "killed")
    for key, tensor in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[key], tensor)
    rows = list(csv.DictReader((tmp_path / "killed" / "log.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [row["side"] for row in rows] == ["32", "32", "64"]
    assert (tmp_path / "killed" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_with_another_recipe_is_refused(tmp_path: Path) -> None:
    task = ClassificationTask.load(write_folders(tmp_path / "data"), 40)
    train(Recipe("emo_1m", ((32, 1),), batch_size=4), task, tmp_path / "run")
    with pytest.raises(ValueError, match="another recipe"):
        train(Recipe("emo_1m", ((32, 2),), batch_size=4), task, tmp_path / "run")


def test_a_detector_trains_from_the_backbone_of_a_classifier(tmp_path: Path) -> None:
    data = write_folders(tmp_path / "pictures")
    classifier = train(
        Recipe("emo_1m", ((32, 1),), batch_size=4), ClassificationTask.load(data, 40), tmp_path / "classifier"
    )
    initial = {key: tensor for key, tensor in classifier.state_dict().items() if key.startswith("backbone.")}
    recipe = Recipe("ssdlite_emo_1m", ((64, 1),), batch_size=4, learning_rate=0.0)
    detector = train(recipe, DetectionTask.load(write_coco(tmp_path / "boxes")), tmp_path / "detector", initial)
    for key, tensor in detector.state_dict().items():
        if key.startswith("backbone.") and key.endswith("weight"):
            torch.testing.assert_close(tensor, initial[key])


@pytest.mark.parametrize("text", ["", "80", "80x", "16x3", "80x0", "80x3;96x2"])
def test_a_schedule_that_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="as in 80x14,112x2"):
        parse_schedule(text)


def test_the_learning_rate_rises_then_falls_to_zero() -> None:
    recipe = Recipe("emo_1m", parse_schedule("80x14,112x2"), learning_rate=1.0, warmup=0.1)
    assert recipe.sides() == [80] * 14 + [112] * 2
    assert [recipe.rate(progress) for progress in (0.0, 0.05, 0.1)] == pytest.approx([0.0, 0.5, 1.0])
    assert recipe.rate(0.55) == pytest.approx(0.5)
    assert recipe.rate(1.0) == pytest.approx(0.0)


def test_the_moving_average_forgets_its_random_start() -> None:
    update = moving_average(0.999)
    average = torch.tensor(100.0)
    for step in range(200):
        average = update(average, torch.tensor(1.0), step)
    assert average == pytest.approx(1.0, abs=1e-3)
    assert update(torch.tensor(3), torch.tensor(9), 5) == 9
