from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from emo.data.detection import find_detection
from emo.evaluation.ground_truth import read_ground_truth
from emo.training.detection import DetectionTask
from tests.emo.datasets import COLOURS

NAMES = "names: [red box, blue box]\n"


def write(pictures: Path, labels: Path, count: int = 4) -> None:
    """Pictures 96 x 64 with a red or blue rectangle at 10 + k, 8, 50 wide and 42 high, and its label file."""
    pictures.mkdir(parents=True)
    labels.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        canvas = Image.new("RGB", (96, 64), (120, 120, 120))
        canvas.paste(COLOURS[("red", "blue")[k % 2]], (10 + k, 8, 60 + k, 50))
        canvas.save(pictures / f"{k}.png")
        (labels / f"{k}.txt").write_text(f"{k % 2} {(35 + k) / 96} {29 / 64} {50 / 96} {42 / 64}\n")


def write_splits(root: Path, yaml: str | None = f"train: images/train\nval: images/val\n{NAMES}") -> Path:
    for split in ("train", "val"):
        write(root / "images" / split, root / "labels" / split)
    if yaml:
        (root / "data.yaml").write_text(yaml)
    return root


def check(root: Path) -> None:
    for split in ("train", "val"):
        data = find_detection(root, split)
        assert data.names == ("red box", "blue box")
        assert [image.labels.tolist() for image in data.images] == [[0], [1], [0], [1]]
        assert [image.boxes_xyxy[0].round(6).tolist() for image in data.images] == [
            [10 + k, 8, 60 + k, 50] for k in range(4)
        ]
    assert len(read_ground_truth("detect", root).pictures) == 4


@pytest.mark.parametrize(
    "names",
    [
        "names: [red box, blue box]",
        "nc: 2\nnames:\n- red box\n- blue box",
        "names: {0: red box, 1: blue box}",
        "names:\n  1: blue box\n  0: red box",
    ],
)
@pytest.mark.parametrize(
    "places",
    [
        "train: images/train\nval: images/val",
        "path: ../somewhere/else\ntrain: images/train\nvalid: images/val",
        "train: ../images/train\nval: ../../images/val/",
        "path: images\ntrain: train\nval: [val]",
        "train: train.txt\nval: val.txt\ntest:",
        "",
    ],
)
def test_places_and_names_may_be_written_in_all_the_usual_ways(places: str, names: str, tmp_path: Path) -> None:
    root = write_splits(tmp_path, f"\ufeff{places}\n{names}\n")
    (root / "train.txt").write_text("".join(f"./images/train/{k}.png\n" for k in range(4)))
    (root / "val.txt").write_text("".join(f"{root}/images/val/{k}.png\r\n" for k in range(4)))
    check(root)


def test_the_layout_of_roboflow_is_found(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        write(tmp_path / split / "images", tmp_path / split / "labels")
    (tmp_path / "data.yaml").write_text(f"train: ../train/images\nval: ../valid/images\ntest: ../test/images\n{NAMES}")
    check(tmp_path)


def test_without_yaml_the_classes_are_those_of_classes_txt(tmp_path: Path) -> None:
    root = write_splits(tmp_path, None)
    with pytest.raises(ValueError, match=r"a data\.yaml with names, or classes\.txt"):
        find_detection(root, "val")
    (root / "classes.txt").write_text("red box\nblue box\n\n")
    check(root)


def test_files_of_windows_are_read_in_utf_16(tmp_path: Path) -> None:
    root = write_splits(tmp_path, None)
    (root / "classes.txt").write_text("red box\r\nblue box\r\n", encoding="utf-16")
    label = root / "labels" / "val" / "0.txt"
    label.write_text(label.read_text(), encoding="utf-16")
    check(root)


@pytest.mark.parametrize("name", ["data.yaml", "labels/val/0.txt", "val.txt"])
def test_a_file_that_is_no_text_is_named(name: str, tmp_path: Path) -> None:
    root = write_splits(tmp_path, f"train: images/train\nval: val.txt\n{NAMES}")
    (root / "val.txt").write_text("images/val/0.png\n")
    with (root / name).open("ab") as file:
        file.write(b" # \xe9\n")
    with pytest.raises(ValueError, match=rf"^{root}/{name}: no text in UTF-8"):
        find_detection(root, "val")


def test_names_that_yaml_takes_for_something_else_stay_what_they_are(tmp_path: Path) -> None:
    root = write_splits(tmp_path, "train: images/train\nval: images/val\nnames: [no, 007]\n")
    assert find_detection(root, "val").names == ("no", "007")


@pytest.mark.parametrize("yaml", [NAMES, f"train: images\n{NAMES}"])
def test_of_pictures_without_splits_a_fifth_is_held_out(yaml: str, tmp_path: Path) -> None:
    write(tmp_path / "images", tmp_path / "labels", 20)
    (tmp_path / "data.yaml").write_text(yaml)
    training, validation = find_detection(tmp_path, "train"), find_detection(tmp_path, "val")
    assert (len(training.images), len(validation.images)) == (16, 4)
    assert not {image.path for image in training.images} & {image.path for image in validation.images}


def test_labels_beside_their_pictures_are_found(tmp_path: Path) -> None:
    write(tmp_path / "photos", tmp_path / "photos", 5)
    (tmp_path / "classes.txt").write_text("red box\nblue box\n")
    assert len(find_detection(tmp_path, "train").images) == 4


def test_a_picture_without_labels_has_no_objects_and_polygons_have_a_box(tmp_path: Path) -> None:
    root = write_splits(tmp_path)
    labels = root / "labels" / "val"
    (labels / "0.txt").unlink()
    (labels / "1.txt").write_text("\n")
    (labels / "2.txt").write_text("1 0.5 0.25 0.75 0.5 0.5 0.75 0.25 0.5\n\n0 1 1 0.5 0.5\n")
    data = find_detection(root, "val")
    assert [len(image.labels) for image in data.images] == [0, 0, 2, 1]
    assert data.images[2].boxes_xyxy.tolist() == [[24, 16, 72, 48], [72, 48, 96, 64]]


def test_boxes_with_key_points_are_not_taken_for_polygons(tmp_path: Path) -> None:
    root = write_splits(tmp_path, f"train: images/train\nval: images/val\nkpt_shape: [2, 2]\n{NAMES}")
    for path in (root / "labels").rglob("*.txt"):
        path.write_text(path.read_text().strip() + " 0.1 0.1 0.9 0.9")
    check(root)


def test_boxes_are_those_of_the_picture_as_it_is_shown(tmp_path: Path) -> None:
    root = write_splits(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (96, 64)).save(root / "images" / "val" / "0.png", exif=exif)
    assert find_detection(root, "val").images[0].boxes_xyxy[0].round(3).tolist() == [6.667, 12, 40, 75]


def test_the_folder_can_be_trained_on_and_what_is_left_out_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_splits(tmp_path)
    write(root / "images" / "test", root / "labels" / "test", 3)
    (root / "README.md").touch()
    task = DetectionTask.load(root)
    assert (task.names, task.count, task.validation_count) == (("red box", "blue box"), 4, 4)
    said = capsys.readouterr().out
    assert said == "passed over: 1 .md, folder images/test/ (3 pictures), folder labels/test/ (3 files)\n"


BROKEN: dict[str, tuple[str, str]] = {
    "class": ("2 0.5 0.5 0.1 0.1", r"0\.txt, line 2: class 2, and there are 2 names"),
    "negative class": ("-1 0.5 0.5 0.1 0.1", r"0\.txt, line 2: class -1"),
    "half a class": ("0.5 0.5 0.5 0.1 0.1", r"0\.5 is no number of a class"),
    "a name": ("red 0.5 0.5 0.1 0.1", r"0\.txt, line 2: .*'red'"),
    "pixels": ("0 50 30 20 10", "reaches out of the picture"),
    "not a number": ("0 nan 0.5 0.1 0.1", "reaches out of the picture"),
    "negative size": ("0 0.5 0.5 -0.1 0.1", "a box of -0.1 x 0.1"),
    "four numbers": ("0 0.5 0.5 0.1", "4 numbers, wanted are"),
    "a score": ("0 0.5 0.5 0.1 0.1 0.9", "6 numbers, wanted are"),
}


@pytest.mark.parametrize("line", BROKEN)
def test_a_line_that_is_no_label_is_named(line: str, tmp_path: Path) -> None:
    text, reason = BROKEN[line]
    root = write_splits(tmp_path)
    (root / "labels" / "val" / "0.txt").write_text(f"0 0.5 0.5 0.1 0.1\n{text}\n")
    with pytest.raises(ValueError, match=reason):
        find_detection(root, "val")


@pytest.mark.parametrize(
    ("yaml", "reason"),
    [
        ("names: [a, b", r"data\.yaml: "),
        ("names: []", r"data\.yaml: its names are \[\], wanted is a list"),
        ("names: 5", "its names are '5'"),
        ("names: {0: a, 2: b}", r"numbered \[0, 2\], wanted is 0 to 1"),
        ("names: {a: 0}", r"data\.yaml: "),
        ("names: [a, a]", "'a' cannot be a class name: it is there twice"),
        (f"train: {{a: b}}\n{NAMES}", "is no folder"),
        (f"train: images/train\nval: images/none\n{NAMES}", "names images/none, which is not there"),
    ],
)
def test_a_yaml_that_cannot_be_followed_is_named(yaml: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=reason):
        find_detection(write_splits(tmp_path, yaml), "val")


def test_a_split_that_is_named_and_empty_is_an_error_and_no_reason_to_hold_out(tmp_path: Path) -> None:
    root = write_splits(tmp_path)
    for path in (root / "images" / "val").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match="no pictures for the split val"):
        DetectionTask.load(root)


def test_a_yaml_of_something_else_is_not_looked_at(tmp_path: Path) -> None:
    root = write_splits(tmp_path)
    (root / "mkdocs.yml").write_text("a: !!python/name:b\n")
    (root / "other.yaml").write_text("names: 5\n")
    check(root)


@pytest.mark.parametrize("make", [lambda root: root, lambda root: (root / "labels").mkdir()])
def test_a_folder_that_holds_nothing_is_told_all_that_is_looked_for(
    make: Callable[[Path], object], tmp_path: Path
) -> None:
    make(tmp_path)
    with pytest.raises((FileNotFoundError, ValueError), match=r"data\.yaml"):
        find_detection(tmp_path, "train")
