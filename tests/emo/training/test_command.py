import argparse
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from emo.__main__ import main
from emo.models.anchors import SIZES
from emo.training.command import add_train
from emo.training.options import choose_recipe, command_line
from emo.training.pretrained import Source
from emo.training.processes import Processes
from emo_serve.manifest import ModelCard, read_manifest
from tests.emo.datasets import write_coco, write_folders, write_plain
from tests.serving import eventually

ROOT = Path(__file__).parents[3]


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_train(parser.add_subparsers())
    return parser.parse_args(["train", *arguments])


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The error message of a command that cannot be done."""
    with pytest.raises(SystemExit) as caught:
        main(["train", *arguments])
    assert caught.value.code == 2
    return capsys.readouterr().err


def card(models: Path, name: str, version: str = "1") -> ModelCard:
    return read_manifest(models / name / version / "manifest.json").card


@pytest.mark.parametrize(
    ("task", "pictures", "processes", "batch_size", "learning_rate"),
    [
        ("classify", 160, 1, 16, 8.8e-4),
        ("classify", 20, 1, 8, 6.2e-4),
        ("classify", 70_000, 1, 128, 2.5e-3),
        ("classify", 160, 3, 15, 8.6e-4),
        ("detect", 1704, 1, 16, 1e-3),
    ],
)
def test_batch_and_learning_rate_follow_the_number_of_pictures(
    task: str, pictures: int, processes: int, batch_size: int, learning_rate: float
) -> None:
    recipe = choose_recipe(options(task, "--data", "photos"), pictures, None, Processes(0, processes))
    assert recipe.batch_size == batch_size
    assert recipe.learning_rate == pytest.approx(learning_rate, rel=0.02)


def test_the_model_has_the_size_of_what_it_starts_from() -> None:
    source = Source(Path("net.pth"), {}, None, "emo_5m")
    assert choose_recipe(options("classify", "--data", "photos"), 99, source, Processes()).model == "emo_5m"
    assert choose_recipe(options("detect", "--data", "photos"), 99, source, Processes()).model == "ssdlite_emo_5m"
    assert choose_recipe(options("detect", "--data", "photos"), 99, None, Processes()).model == "ssdlite_emo_1m"


def test_a_detector_has_the_anchors_of_the_one_that_it_starts_from_unless_others_are_asked_for() -> None:
    own = (24, 48, 100, 150, 202, 253, 304, 320)
    source = Source(Path("net.pth"), {"anchor_sizes": torch.tensor(own)}, "ssdlite_emo_1m", "emo_1m")
    plain = Source(Path("net.pth"), {}, "emo_1m", "emo_1m")
    asked = options("detect", "--data", "photos", "--anchor-sizes", "30,60,100,150,200,250,300")
    assert choose_recipe(options("detect", "--data", "photos"), 99, source, Processes()).anchor_sizes == own
    assert choose_recipe(options("detect", "--data", "photos"), 99, plain, Processes()).anchor_sizes == SIZES
    assert choose_recipe(asked, 99, source, Processes()).anchor_sizes == (30, 60, 100, 150, 200, 250, 300)


def test_the_command_on_the_card_asks_for_the_same_recipe() -> None:
    given = options(
        "detect", "--data", "/a/photos", "--precision", "bfloat16", "--patience", "3", "--init", "/b/net.pth"
    )
    recipe = choose_recipe(given, 500, None, Processes())
    words = command_line(given, recipe, Processes()).split()
    assert words[:4] == ["python", "-m", "emo", "train"]
    again = options(*words[4:])
    assert choose_recipe(again, 7, None, Processes()) == recipe
    assert (again.data, again.init) == (Path("photos"), Path("net.pth"))


@pytest.mark.usefixtures("quick_export")
def test_an_export_can_be_repeated_by_the_same_command_without_training_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_plain(tmp_path / "My Photos", 6)
    monkeypatch.chdir(tmp_path)
    command = ["train", "classify", "--data", str(data), "--schedule", "64x1"]
    assert main(command) == 0
    assert "/classify?model=my-photos&version=1'" in capsys.readouterr().out
    log = (tmp_path / "runs" / "my-photos" / "log.csv").read_text()
    written = card(tmp_path / "models", "my-photos")
    assert written.training_data == "15 pictures of 3 classes in My Photos."
    assert set(written.metrics) == {"top1"}  # five of three classes say nothing
    assert (tmp_path / "runs" / "my-photos" / "log.csv").read_text().startswith("epoch,side,loss,top1,val_loss,seconds")
    assert "models/my-photos/1 exists already; choose another version" in refused(capsys, *command[1:])
    (tmp_path / "card.toml").write_text('terms = "CC BY 4.0"\n')
    assert main([*command, "--version", "2", "--card", "card.toml"]) == 0
    assert "going on after epoch 1 of 1" in capsys.readouterr().out
    assert (tmp_path / "runs" / "my-photos" / "log.csv").read_text() == log  # it was not trained again
    again = card(tmp_path / "models", "my-photos", "2")
    assert again == written.model_copy(update={"terms": "CC BY 4.0"})


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    data, run = write_folders(tmp_path / "data"), tmp_path / "run"
    command = ["train", "classify", "--data", data, "--schedule", "32x999", "--out", run, "--models", tmp_path]
    # a shell that starts tests in the background has told them to ignore Ctrl-C
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from emo.__main__ import main; main(sys.argv[1:])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            eventually((run / "last.pt").exists, 120)
            process.send_signal(signal.SIGINT)
            assert f"the same command goes on with what is in {run}" in process.communicate(timeout=60)[0]
        finally:
            process.kill()
    assert process.returncode == 130
    assert not (tmp_path / "run" / "1").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["detect", "--data", "photos", "--teacher", "a"], "--teacher goes with classify"),
        (["classify", "--data", "photos", "--unlabelled", "more"], "--unlabelled goes with --teacher"),
        (["detect", "--data", "photos", "--frozen-stages", "3"], "--frozen-stages goes with --init"),
        (["classify", "--data", "photos", "--close-mosaic", "2"], "--close-mosaic goes with detect"),
        (["detect", "--data", "photos", "--compile"], "--compile goes with classify"),
        (["classify"], "--data is missing"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reason in refused(capsys, *arguments, "--name", "a")


def test_a_card_with_a_text_that_no_card_has_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "card.toml").write_text('licence = "mine"\n')
    said = refused(capsys, "classify", "--data", str(tmp_path), "--name", "a", "--card", str(tmp_path / "card.toml"))
    assert "'licence' is no text of a card; there are training_data" in said


def test_groups_that_do_not_fit_are_refused_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    data, groups = write_folders(tmp_path / "photos"), tmp_path / "groups.csv"
    command = ["classify", "--data", str(data), "--groups", str(groups)]
    assert "groups.csv: cannot be read" in refused(capsys, *command)
    groups.write_text("name,group\nred,warm\n")
    assert "has no group for 2 of the 3 classes: 'blue', 'green'" in refused(capsys, *command)
    boxes = write_coco(tmp_path / "boxes")
    said = refused(capsys, "detect", "--data", str(boxes), "--groups", str(groups))
    assert "only the classes of a classifier have groups" in said
    assert not (tmp_path / "runs").exists()


def test_data_that_cannot_teach_a_classifier_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    data = write_plain(tmp_path / "photos", 3)
    command = ["classify", "--data", str(data)]
    (data / "green" / "0.png").write_bytes(b"")
    assert "green/0.png: The image is empty" in refused(capsys, *command)
    for path in (data / "green").iterdir():
        path.unlink()
    assert "too few pictures to learn from, of green" in refused(capsys, *command)
    (data / "green").rmdir()
    (data / "blue").rename(tmp_path / "blue")
    assert "needs two classes or more, there is only red" in refused(capsys, *command)
    assert "has neither index.csv nor folders" in refused(capsys, "classify", "--data", str(tmp_path / "none"))
    assert not (tmp_path / "models").exists()
    assert not (tmp_path / "runs").exists()


def test_names_that_no_server_would_take_are_refused_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    data = write_coco(tmp_path / "data")
    for path in data.glob("*.json"):
        path.write_text(path.read_text().replace("blue box", "red box"))
    assert "'red box' cannot be a class name" in refused(capsys, "detect", "--data", str(data))
    assert not (tmp_path / "runs").exists()


def test_the_cards_of_the_shipped_models_have_all_texts() -> None:
    for path in (ROOT / "docs" / "cards").glob("*.toml"):
        assert set(tomllib.loads(path.read_text())) == {
            "training_data",
            "recipe",
            "measured_on",
            "intended_use",
            "terms",
        }
