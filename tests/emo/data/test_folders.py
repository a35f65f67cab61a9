import shutil
from pathlib import Path

import numpy as np
import pytest

from emo.data.folders import find_classification, load_squares
from emo.data.pictures import check_readable
from tests.emo.datasets import COLOURS, picture, write_folders, write_plain, write_sheets


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
