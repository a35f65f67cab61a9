"""Photos, toy detectors and a real server -> COCO JSON that training reads."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from emo.__main__ import main
from emo.data.boxes import IGNORED
from emo.data.coco import read_coco
from emo.training.detection import DetectionTask
from emo_serve.settings import Settings
from tests.serving import running
from tests.support import quadrants, write_classifier, write_detector

GREY = (90, 90, 90)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_detector(tmp_path / "models", "first")
    write_detector(tmp_path / "models", "second")
    write_classifier(tmp_path / "models", "sorter")
    return tmp_path / "models"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """One with a red and a blue quadrant, one below it with a faint green, one without anything, one that is cut."""
    root = tmp_path / "photos"
    (root / "more").mkdir(parents=True)
    save(root / "a.png", quadrants("red", "black", "white", "blue", 64))
    faint = np.full((64, 64, 3), 90, np.uint8)
    faint[:32, 32:] = (60, 140, 0)  # a score of 0.31
    save(root / "more" / "b.png", faint)
    save(root / "c.png", np.full((40, 60, 3), 90, np.uint8))
    cut = root / "d.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(cut)
    cut.write_bytes(cut.read_bytes()[:900])
    (root / "notes.txt").write_text("no photo")
    return root


def save(path: Path, pixels: Any) -> None:  # noqa: ANN401
    Image.fromarray(pixels).save(path)


def label(photos: Path, models: Path, out: Path, *more: str, model: str = "first") -> None:
    arguments = ["label", "--data", str(photos), "--out", str(out), "--models", str(models), "--model", model]
    assert main([*arguments, *more]) == 0


def file_names(path: Path) -> set[str]:
    return {image["file_name"] for image in json.loads(path.read_text())["images"]}


def objects(path: Path) -> list[tuple[str, str, list[float], int, float, str]]:
    content = json.loads(path.read_text())
    file_of = {image["id"]: Path(image["file_name"]).name for image in content["images"]}
    name_of = {category["id"]: category["name"] for category in content["categories"]}
    return [
        (
            file_of[found["image_id"]],
            name_of[found["category_id"]],
            found["bbox"],
            found["iscrowd"],
            round(found["score"], 1),
            found["source"],
        )
        for found in content["annotations"]
    ]


def test_photos_become_a_data_set_with_objects_regions_and_negatives(
    photos: Path, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "set" / "instances.json"
    label(photos, models, out)
    assert objects(out) == [
        ("a.png", "red", [0, 0, 32, 32], 0, 1.0, "first@1"),
        ("a.png", "blue", [32, 32, 32, 32], 0, 1.0, "first@1"),
        ("b.png", "green", [32, 0, 32, 32], 1, 0.3, "first@1"),
    ]
    data = read_coco(out, out.parent)
    assert data.names == ("red", "green", "blue")
    names = ("a.png", "c.png", "more/b.png")
    assert [image.path.resolve() for image in data.images] == [photos / name for name in names]
    assert [image.size for image in data.images] == [(64, 64), (60, 40), (64, 64)]
    assert [image.targets.tolist() for image in data.images] == [[0, 2], [], [IGNORED]]
    printed = capsys.readouterr().out
    assert "3 photos, 2 of them without objects" in printed
    assert "left out, as they cannot be read: 1" in printed
    assert "d.jpg" in printed


def test_what_was_asked_is_not_asked_again_and_new_photos_are(photos: Path, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "instances.json"
    label(photos, models, out)
    first = out.read_bytes()
    kept = next((tmp_path / "instances.answers").glob("first@1-*.jsonl"))
    kept.write_bytes(kept.read_bytes()[:-20])  # killed in the middle of a line
    label(photos, models, out)
    assert out.read_bytes() == first
    header, *lines = map(json.loads, kept.read_text().splitlines())
    lines[0]["scores"] = [0.7, 0.6]
    kept.write_text("".join(json.dumps(line) + "\n" for line in (header, *lines)))
    save(photos / "e.png", quadrants("green", "black", "black", "black", 64))
    label(photos, models, out)
    assert [row[4] for row in objects(out)] == [0.7, 0.6, 1.0, 0.3]


def test_several_models_one_of_them_served_are_fused(photos: Path, models: Path, tmp_path: Path) -> None:
    here, there = tmp_path / "here.json", tmp_path / "there.json"
    label(photos, models, here, "--model", str(models / "second" / "1" / "model.onnx"))
    with running(Settings(models=models)) as server:
        label(photos, models, there, "--model", f"{server.url}/models/second@1")
    assert [row[-1] for row in objects(there)] == ["first@1+second@1"] * 3
    assert here.read_bytes() == there.read_bytes()


def write_true(root: Path, file_names: list[str], size: int = 64) -> Path:
    path = root / "true.json"
    content = {
        "images": [{"id": 7 + k, "file_name": name, "width": size, "height": 64} for k, name in enumerate(file_names)],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 4, "bbox": [1, 2, 30, 30], "area": 500}],
        "categories": [{"id": 4, "name": "crimson"}, {"id": 9, "name": "yellow"}],
    }
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("beside_photos", [True, False])
def test_true_boxes_win_for_the_classes_that_they_are_of(
    beside_photos: bool, photos: Path, models: Path, tmp_path: Path
) -> None:
    true = write_true(photos if beside_photos else tmp_path, ["a.png", "elsewhere.png"])
    out = tmp_path / "instances.json"
    label(photos, models, out, "--true", str(true), "--rename", "crimson=red")
    assert objects(out)[:2] == [
        ("a.png", "red", [1, 2, 30, 30], 0, 1.0, "true"),
        ("a.png", "blue", [32, 32, 32, 32], 0, 1.0, "first@1"),
    ]
    content = json.loads(out.read_text())
    assert [category["name"] for category in content["categories"]] == ["red", "yellow", "green", "blue"]
    assert content["annotations"][0]["area"] == 500


def test_classes_and_thresholds_are_chosen(photos: Path, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "instances.json"
    label(photos, models, out, "--classes", "green,red", "--class-threshold", "green=0.3")
    assert [(row[1], row[3]) for row in objects(out)] == [("red", 0), ("green", 0)]
    assert [category["name"] for category in json.loads(out.read_text())["categories"]] == ["green", "red"]
    label(photos, models, out, "--ignore-above", "0.4")
    assert [row[1] for row in objects(out)] == ["red", "blue"]


def test_photos_are_held_out_by_their_names(models: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for k in range(30):
        save(photos / f"{k}.png", quadrants("red", "black", "black", "black", 64))
    label(photos, models, tmp_path / "set", "--hold-out", "3")
    train, val = (file_names(tmp_path / "set" / f"instances_{split}.json") for split in ("train", "val"))
    assert len(train | val) == 30
    assert 4 <= len(val) <= 16
    task = DetectionTask.load(tmp_path / "set")
    assert (task.count, task.validation_count, task.names) == (len(train), len(val), ("red", "green", "blue"))
    for k in range(15):
        (photos / f"{k}.png").unlink()
    label(photos, models, tmp_path / "set", "--hold-out", "3")
    assert file_names(tmp_path / "set" / "instances_val.json") == {name for name in val if int(Path(name).stem) >= 15}


def test_a_sheet_shows_objects_true_ones_and_regions_differently(photos: Path, models: Path, tmp_path: Path) -> None:
    true, out, sheet = write_true(photos, ["a.png"]), tmp_path / "instances.json", tmp_path / "look" / "sheet.png"
    label(photos, models, out, "--true", str(true), "--sheet", str(sheet))
    with Image.open(sheet) as page:
        assert page.size == (960, 320)
        first, second, third = (np.asarray(page.crop((320 * k, 0, 320 * k + 320, 320))) for k in range(3))
    hatched = third[8:140, 170:310].reshape(-1, 3)
    assert len(np.unique(hatched, axis=0)) > 3  # the quadrant has one colour
    assert (second[60:180, 20:300].reshape(-1, 3) == GREY).all()  # nothing is drawn where nothing was found
    assert (first[100, :12] == 255).all(axis=1).sum() == 2  # the white edge, at x = 1 of 64
    assert (first[240, 150:170] == 255).all(axis=1).sum() > 2  # the white quadrant
    label(photos, models, out, "--sheet", str(sheet), "--sheet-photos", "1")
    with Image.open(sheet) as page:
        assert page.size == (320, 320)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "nobody"], "no model 'nobody'"),
        (["--model", "sorter"], "boxes come from a detector; this model's task is classify"),
        (["--model", "first"], "two models are called first@1"),
        (["--model", "http://127.0.0.1:9"], "127.0.0.1:9"),
        (["--classes", "red,purple"], "nobody knows a class 'purple'; known are red, green, blue"),
        (["--class-threshold", "purple=0.5"], "nobody knows a class 'purple'"),
        (["--rename", "purple=violet"], "nobody knows a class 'violet'"),
        (["--rename", "purple"], "wants OLD=NEW"),
        (["--class-threshold", "red=high"], "red=high"),
        (["--threshold", "0"], "wants a score from 0.05 to 1"),
        (["--threshold", "nan"], "wants a score from 0.05 to 1"),
        (["--threshold", "0.06"], "models are asked for scores from 0.05"),
        (["--ignore-above", "0.5"], "red: regions to ignore from 0.5 on and objects from 0.4 on"),
        (["--hold-out", "3"], "with --hold-out a folder"),
        (["--hold-out", "1"], "1: wants 2 or more"),
        (["--out", "{tmp}"], "wants a file"),
        (["--out", "{tmp}/hand.json"], "emo label has not written it"),
        (["--true", "{tmp}/true.json"], "none of its 1 pictures is among the 4"),
        (["--true", "{photos}/true.json"], "its boxes are for 65 x 64"),
        (["--true", "{tmp}/out.json"], "out.json is read, so it cannot be written"),
        (["--sheet", "{photos}/sheet.jpg"], "would lie among the photos"),
        (["--data", "{tmp}/models"], "has no picture that can be read"),
    ],
)
def test_what_cannot_be_done_ends_with_a_message_and_nothing_is_written(
    arguments: list[str], message: str, photos: Path, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "hand.json").write_text("{}")
    write_true(tmp_path, ["elsewhere.png"])
    write_true(photos, ["a.png"], size=65)
    filled = [argument.format(tmp=tmp_path, photos=photos) for argument in arguments]
    with pytest.raises(SystemExit) as caught:
        label(photos, models, tmp_path / "out.json", *filled)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()
    assert (tmp_path / "hand.json").read_text() == "{}"
