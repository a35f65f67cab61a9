from pathlib import Path

import numpy as np
import pytest

from emo.data import cut_boxes, find_classification, load_squares, read_coco
from tests.emo.datasets import COLOURS, write_coco, write_folders, write_sheets


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
    with pytest.raises(FileNotFoundError, match=r"neither index\.csv nor folders val/<class name>/"):
        find_classification(tmp_path, "val")


def test_coco_categories_become_labels_in_the_order_of_their_ids(tmp_path: Path) -> None:
    data = read_coco(write_coco(tmp_path) / "instances_train.json", tmp_path)
    assert data.names == ("red box", "blue box")
    assert data.category_ids == (3, 7)
    assert data.images[1].boxes_xyxy.tolist() == [[11, 8, 61, 50]]
    assert data.images[1].labels.tolist() == [1]


def test_boxes_are_cut_out_once(tmp_path: Path) -> None:
    data = read_coco(write_coco(tmp_path) / "instances_train.json", tmp_path)
    assert cut_boxes(data, 48, tmp_path / "cut") == 4
    assert cut_boxes(data, 48, tmp_path / "cut") == 0
    assert len(list((tmp_path / "cut" / "red box").iterdir())) == 2
