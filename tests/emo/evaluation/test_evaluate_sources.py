"""One model asked in several ways: the figures are the same."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from emo.__main__ import main
from emo.evaluation.ground_truth import read_ground_truth
from emo.evaluation.measure import measure
from emo.evaluation.targets import choose_model
from emo_serve.manifest import Task
from emo_serve.settings import Settings
from tests.emo.evaluation.splits import write_labelled, write_split
from tests.emo.parity import upstream_state
from tests.serving import running
from tests.support import COLOURS, write_classifier, write_detector, write_segmenter

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
ROOT = Path(__file__).parents[3]
WRITE = {"classify": write_classifier, "detect": write_detector, "segment": write_segmenter}


def figures(what: object, data: Path, model: str | None = None, out: Path | None = None) -> dict[str, float]:
    subject = choose_model(str(what), model)
    return measure(subject, read_ground_truth(subject.description.task, data), out)


@pytest.mark.parametrize(("task", "figure"), [("classify", "top1"), ("detect", "ap"), ("segment", "miou")])
def test_a_folder_an_onnx_file_and_a_server_give_the_same_figures(task: Task, figure: str, tmp_path: Path) -> None:
    folder = WRITE[task](tmp_path / "models")
    data = write_split(task, tmp_path / "data")
    found = figures(folder, data)
    assert 0.2 < found[figure] < 0.99
    assert figures(folder / "model.onnx", data) == found
    with running(Settings(models=tmp_path / "models")) as server:
        assert figures(server.url, data) == found  # the only model that there is
        assert figures(server.url, data, f"{folder.parent.name}@1") == found


def test_groups_are_measured_in_all_ways_where_the_model_has_some(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path / "models", groups=("warm", "cold", "cold"))
    data = write_split("classify", tmp_path / "data")
    found = figures(folder, data)
    # of three pictures a class, the last has the next one's colour: that of green is blue, which is as cold
    assert found == {"top1": pytest.approx(6 / 9), "group_top1": pytest.approx(7 / 9)}
    with running(Settings(models=tmp_path / "models")) as server:
        assert figures(server.url, data) == found


def test_folders_that_are_called_as_groups_measure_the_groups_alone(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path / "models", groups=("warm", "cold", "cold"))
    write_labelled(tmp_path / "data", ("warm", "cold"))  # red twice and green; green twice and blue
    assert figures(folder, tmp_path / "data") == {"group_top1": pytest.approx(5 / 6)}
    with pytest.raises(ValueError, match="none of the model's 3"):
        figures(write_classifier(tmp_path / "plain"), tmp_path / "data")


def test_answers_that_were_kept_before_the_model_had_groups_are_not_taken_for_new_ones(tmp_path: Path) -> None:
    data, kept = write_split("classify", tmp_path / "data"), tmp_path / "kept.jsonl"
    figures(write_classifier(tmp_path / "before"), data, out=kept)
    with pytest.raises(ValueError, match="another model"):
        figures(write_classifier(tmp_path / "after", groups=("warm", "cold", "cold")), data, out=kept)


def test_a_contact_sheet_reaches_the_server_without_loss(tmp_path: Path) -> None:
    folder, data = write_classifier(tmp_path / "models"), tmp_path / "data"
    data.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 400, 3), dtype=np.uint8)  # nearly grey: a guess of chance
    Image.fromarray(pixels).save(data / "sheet.png")
    with (data / "index.csv").open("w", newline="") as file:
        rows = [["val", "sheet.png", 20 * k, 0, 20, 40, k % 3] for k in range(20)]
        csv.writer(file).writerows([["split", "file", "x", "y", "w", "h", "class_id"], *rows])
    names = [[label, name] for label, name in enumerate(COLOURS)]
    with (data / "classes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["class_id", "name"], *names])
    kept = [tmp_path / "here.jsonl", tmp_path / "there.jsonl"]
    with running(Settings(models=tmp_path / "models")) as server:
        assert figures(folder, data, out=kept[0]) == figures(server.url, data, out=kept[1])
    assert kept[0].read_text() == kept[1].read_text()


@pytest.mark.parametrize("task", ["classify", "detect"])
def test_a_checkpoint_gives_the_answers_of_the_model_that_was_exported_from_it(task: Task, tmp_path: Path) -> None:
    name = "emo-1m" if task == "classify" else "ssdlite-emo-1m"
    data = tmp_path / "data"
    photos = {"tabby": skimage.data.chelsea(), "espresso": skimage.data.coffee()}
    for label, pixels in photos.items():
        (data / "val" / label).mkdir(parents=True)
        Image.fromarray(pixels).save(data / "val" / label / "photo.jpg", quality=95)
    if task == "detect":
        content = {
            "images": [{"id": k, "file_name": f"val/{label}/photo.jpg"} for k, label in enumerate(photos)],
            "annotations": [{"id": 1, "image_id": 0, "category_id": 0, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0}],
            "categories": [{"id": k, "name": "person"} for k in range(1)],
        }
        (data / "instances_val.json").write_text(json.dumps(content))
    checkpoint_file, folder = ROOT / "checkpoints" / f"{name}.pt", ROOT / "models" / name / "2"
    if task == "classify":  # the shipped one has fewer classes
        folder = tmp_path / "whole" / "1"
        assert main(["import", str(checkpoint_file), "--name", "whole", "--models", str(tmp_path)]) == 0
    kept = {what: tmp_path / f"{number}.jsonl" for number, what in enumerate((folder, checkpoint_file))}
    found = [figures(what, data, out=path) for what, path in kept.items()]
    for figure in found[0].keys() & found[1].keys():  # the groups of a checkpoint's classes need not be in a manifest
        assert found[0][figure] == pytest.approx(found[1][figure], abs=1e-3)
    assert found[0]
    exported, checkpoint = ([json.loads(line) for line in path.read_text().splitlines()[1:]] for path in kept.values())
    assert len(exported) == len(checkpoint) == 2
    for one, other in zip(exported, checkpoint, strict=True):
        assert one["scores"] == pytest.approx(other["scores"], abs=2e-5)
        assert one["labels"] == other["labels"]


def test_a_segmenters_checkpoint_is_measured_at_the_side_that_is_asked_for(tmp_path: Path) -> None:
    torch.save({"state_dict": upstream_state("pspnet_emo_1m")}, tmp_path / "net.pth")
    data = write_split("segment", tmp_path / "data")
    subject = choose_model(str(tmp_path / "net.pth"), side=64)
    assert subject.description.labels[0] == "wall"
    assert subject.description.rule.height == 64
    assert 0 <= measure(subject, read_ground_truth("segment", data))["miou"] < 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{models}", "--model", "x"], "is no URL"),
        (["{models}/toy-classifier/1", "--side", "64"], "--side goes with a checkpoint"),
        (["{models}/toy-classifier/1/labels.txt"], "no checkpoint"),
        (["{models}/toy-classifier/1/other.onnx"], "other.onnx"),
        (["http://127.0.0.1:9"], "127.0.0.1:9"),
        (["http://127.0.0.1:port"], "Invalid port"),
        (["{models}/net.pth", "--side", "100"], "a multiple of 32"),
    ],
)
def test_what_cannot_be_measured_ends_with_a_message(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_classifier(tmp_path / "models")
    data = write_split("classify", tmp_path / "data")
    filled = [argument.format(models=tmp_path / "models") for argument in arguments]
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", *filled, "--data", str(data)])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_a_graph_that_is_not_what_its_manifest_says_is_refused(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path / "models")
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes() + b" ")
    with pytest.raises(ValueError, match=r"model\.onnx is not what the manifest says"):
        choose_model(str(folder))
