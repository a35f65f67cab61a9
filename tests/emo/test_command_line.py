import json
from pathlib import Path

import pytest

from emo.__main__ import main
from tests.emo.datasets import write_coco, write_folders

CARD = """
training_data = "coloured squares"
recipe = "see the test"
measured_on = "its validation split"
intended_use = "tests"
terms = "none"
"""


@pytest.mark.usefixtures("quick_export")
@pytest.mark.parametrize(
    ("task", "model", "figure"), [("classify", "emo_1m", "top1"), ("detect", "ssdlite_emo_1m", "ap50")]
)
def test_a_folder_of_pictures_becomes_a_measured_artefact(
    task: str, model: str, figure: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    (write_folders if task == "classify" else write_coco)(data)
    card = tmp_path / "card.toml"
    card.write_text(CARD)
    run, models = tmp_path / "run", tmp_path / "models"
    groups = tmp_path / "groups.csv"
    groups.write_text("name,group\nred,warm\ngreen,cold\nblue,cold\n")
    grouped = ["--groups", str(groups)] if task == "classify" else []
    train = ["train", task, "--data", str(data), "--model", model, "--schedule", "64x1", "--batch-size", "4", *grouped]
    assert main([*train, "--out", str(run), "--models", str(models)]) == 0
    export = ["export", "--checkpoint", str(run / "weights.pt"), "--data", str(data), "--card", str(card), *grouped]
    assert main([*export, "--models", str(models), "--name", "mine", "--version", "1"]) == 0
    manifest = json.loads((models / "mine" / "1" / "manifest.json").read_text())
    assert manifest["card"]["training_data"] == "coloured squares"
    again = json.loads((models / "run" / "1" / "manifest.json").read_text())  # what train itself has exported
    assert again["sha256"] == manifest["sha256"]
    assert again.get("groups") == manifest.get("groups") == (["cold", "cold", "warm"] if grouped else None)
    assert ("group_top1" in manifest["card"]["metrics"]) == bool(grouped)
    assert again["card"]["metrics"] == manifest["card"]["metrics"]
    if task == "detect":
        assert manifest["detection"]["score_threshold"] == manifest["card"]["metrics"].get("f1_threshold", 0.3)
    said = capsys.readouterr().out
    assert f"default for {task}: run, which answers" in said
    assert f"default for {task}: run, as before" in said
    assert main(["evaluate", str(models / "mine" / "1"), "--data", str(data)]) == 0
    printed = dict(line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert float(printed[figure.rjust(16)]) == pytest.approx(manifest["card"]["metrics"][figure], abs=1e-4)


def test_a_mistake_ends_with_a_message_and_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", str(tmp_path), "--data", str(tmp_path)])
    assert caught.value.code == 2
    assert "manifest.json" in capsys.readouterr().err
