import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emo.data import check_readable, find_classification, find_coco, load_squares, open_rgb, read_coco
from tests.emo.datasets import COLOURS, picture, write_coco, write_folders, write_plain, write_sheets


def test_folders_give_the_classes_in_alphabetical_order(tmp_path: Path) -> None:
    found = find_classification(write_folders(tmp_path), "train")
    assert found.names == ("blue", "green", "red")
    assert [file.label for file in found.files] == [0] * 4 + [1] * 4 + [2] * 4


def test_contact_sheets_are_cut_into_their_tiles_and_sensitive_classes_left_out(tmp_path: Path) -> None:
    found = find_classification(write_sheets(tmp_path), "val")
    assert found.names == tuple(COLOURS)
    squares, labels = load_squares(found, 32)
    assert squares.shape == (6, 32, 32, 3)
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]
    for square, label in zip(squares, labels, strict=True):
        assert np.abs(square.mean((0, 1)) - list(COLOURS.values())[label]).max() < 8


def test_a_folder_without_data_is_an_error_that_says_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"neither index\.csv nor folders <class name>/"):
        find_classification(tmp_path, "val")


def test_coco_categories_become_labels_in_the_order_of_their_ids(tmp_path: Path) -> None:
    data = read_coco(write_coco(tmp_path) / "instances_train.json", tmp_path)
    assert data.names == ("red box", "blue box")
    assert data.category_ids == (3, 7)
    assert data.images[1].boxes_xyxy.tolist() == [[11, 8, 61, 50]]
    assert data.images[1].labels.tolist() == [1]


def held_out(root: Path) -> set[Path]:
    return {file.path for file in find_classification(root, "val").files}


def test_of_a_folder_without_splits_a_fifth_of_each_class_is_held_out(tmp_path: Path) -> None:
    write_plain(tmp_path, 10)
    training, validation = find_classification(tmp_path, "train"), find_classification(tmp_path, "val")
    assert training.names == validation.names == ("blue", "green", "red")
    assert [file.label for file in validation.files] == [0, 0, 1, 1, 2, 2]
    assert {file.path for file in training.files} | held_out(tmp_path) == set(tmp_path.glob("*/*.png"))
    assert len(training.files) == 24


def test_what_is_held_out_changes_little_when_pictures_are_added(tmp_path: Path) -> None:
    before = held_out(write_plain(tmp_path, 50))
    assert held_out(tmp_path) == before
    for k in range(50, 55):
        picture((9, 9, 9), 40, k).save(tmp_path / "red" / f"{k}.png")
    assert len(before & held_out(tmp_path)) >= len(before) - 2


def test_a_folder_train_alone_is_split_and_a_class_may_be_called_train(tmp_path: Path) -> None:
    write_plain(tmp_path / "all" / "train")
    assert len(held_out(tmp_path / "all")) == 3
    for name in ("train", "bus"):
        shutil.copytree(tmp_path / "all" / "train" / "red", tmp_path / "vehicles" / name)
    assert find_classification(tmp_path / "vehicles", "train").names == ("bus", "train")


def test_a_folder_val_alone_can_be_measured_and_not_trained_on(tmp_path: Path) -> None:
    write_plain(tmp_path / "val")
    assert len(find_classification(tmp_path, "val").files) == 15
    with pytest.raises(FileNotFoundError, match="neither"):
        find_classification(tmp_path, "train")


def test_a_photo_is_read_as_the_server_shows_it(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera on its side
    Image.new("RGB", (30, 20)).save(tmp_path / "turned.jpg", exif=exif)
    Image.new("RGBA", (30, 20)).save(tmp_path / "clear.png")
    assert open_rgb(tmp_path / "turned.jpg").shape == (30, 20, 3)
    assert open_rgb(tmp_path / "clear.png").min() == 255


def test_all_broken_pictures_are_named_at_once(tmp_path: Path) -> None:
    root = write_folders(tmp_path)
    (root / "train" / "red" / "0.png").write_bytes(b"no picture")
    whole = (root / "train" / "blue" / "1.png").read_bytes()
    (root / "train" / "blue" / "1.png").write_bytes(whole[: len(whole) // 2])
    found = find_classification(root, "train")
    with pytest.raises(ValueError, match=r"1\.png: .*truncated"):
        load_squares(found, 32)
    faults: list[str] = []
    load_squares(found, 32, faults)
    with pytest.raises(ValueError, match=r"2 pictures cannot be used.*blue.1\.png.*red.0\.png"):
        check_readable(faults)


def test_the_layout_of_coco_itself_is_found(tmp_path: Path) -> None:
    plain = write_coco(tmp_path / "plain")
    assert find_coco(plain, "val") == (plain / "instances_val.json", plain)
    (tmp_path / "annotations").mkdir()
    (plain / "instances_val.json").rename(tmp_path / "annotations" / "instances_val2017.json")
    assert find_coco(tmp_path, "val") == (tmp_path / "annotations" / "instances_val2017.json", tmp_path / "val2017")
    with pytest.raises(FileNotFoundError, match=r"neither instances_train\.json nor annotations/instances_train<year>"):
        find_coco(tmp_path, "train")
    (tmp_path / "annotations" / "instances_val2014.json").touch()
    with pytest.raises(ValueError, match="several"):
        find_coco(tmp_path, "val")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[1]", "no COCO JSON"),
        ("{", "no COCO JSON"),
        ('{"images": [], "annotations": []}', "'categories' is missing"),
        ('{"images": [{"id": 1, "file_name": "a"}], "categories": [], "annotations": [{"bbox": [1]}]}', "not enough"),
        ('{"images": [], "categories": [], "annotations": [{"bbox": [1, 1, 5, 5], "image_id": 7}]}', "7 is missing"),
    ],
)
def test_a_json_that_is_not_of_coco_is_named_with_what_it_lacks(content: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "instances_val.json").write_text(content)
    with pytest.raises(ValueError, match=rf"instances_val\.json: .*{reason}"):
        read_coco(tmp_path / "instances_val.json", tmp_path)
