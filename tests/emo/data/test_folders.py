import gzip
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from emo.data.folders import find_classification, load_squares
from emo.data.pictures import check_readable
from emo.evaluation.ground_truth import read_ground_truth
from emo.training.classification import ClassificationTask
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


def names_and_counts(root: Path, split: str) -> dict[str, int]:
    found = find_classification(root, split)
    return {name: sum(file.label == label for file in found.files) for label, name in enumerate(found.names)}


@pytest.mark.parametrize(
    "suffix", [".jfif", ".jpe", ".JPG", ".JPEG", ".jif", ".pjpeg", ".Png", ".PNG", ".BMP", ".TIF", ".WebP", ".avif"]
)
def test_all_suffixes_of_pictures_are_taken_in_any_case(suffix: str, tmp_path: Path) -> None:
    root = write_plain(tmp_path)
    for path in root.glob("*/0.png"):
        path.rename(path.with_suffix(suffix))
    taken = {file.path.suffix for split in ("train", "val") for file in find_classification(root, split).files}
    assert taken == {".png", suffix}


def test_pictures_in_folders_below_that_of_their_class_are_taken(tmp_path: Path) -> None:
    for root in (write_plain(tmp_path / "plain"), write_folders(tmp_path / "split") / "train"):
        (root / "red" / "garden" / "evening").mkdir(parents=True)
        picture((200, 9, 9), 40, 9).save(root / "red" / "garden" / "0.png")
        picture((200, 9, 9), 40, 9).save(root / "red" / "garden" / "evening" / "0.png")
    assert names_and_counts(tmp_path / "split", "train") == {"blue": 4, "green": 4, "red": 6}
    training, validation = (names_and_counts(tmp_path / "plain", split) for split in ("train", "val"))
    assert {name: training[name] + validation[name] for name in training} == {"blue": 5, "green": 5, "red": 7}


def test_a_link_that_leads_in_a_circle_is_followed_once(tmp_path: Path) -> None:
    root = write_plain(tmp_path)
    (root / "red" / "again").symlink_to(root / "red")
    assert sum(len(find_classification(root, split).files) for split in ("train", "val")) == 15


@pytest.mark.parametrize("name", ["valid", "validation", "Val", "VALIDATION", "val_set"])
def test_the_split_val_may_have_other_names(name: str, tmp_path: Path) -> None:
    root = write_folders(tmp_path)
    (root / "val").rename(root / name)
    (root / "train").rename(root / "Training")
    assert names_and_counts(root, "train") == {"blue": 4, "green": 4, "red": 4}
    assert names_and_counts(root, "val") == {"blue": 2, "green": 2, "red": 2}


def test_two_folders_for_one_split_are_refused(tmp_path: Path) -> None:
    root = write_folders(tmp_path)
    shutil.copytree(root / "val", root / "valid")
    with pytest.raises(ValueError, match="several folders for the split val: val, valid"):
        find_classification(root, "val")


def test_classes_may_be_called_valid_and_test_and_have_folders_below(tmp_path: Path) -> None:
    for name in ("valid", "invalid", "test"):
        for year in ("2023", "2024"):
            shutil.copytree(write_plain(tmp_path / name / year) / "red", tmp_path / "data" / name / year)
    assert names_and_counts(tmp_path / "data", "train") == {"invalid": 8, "test": 8, "valid": 8}


def test_a_split_beside_the_classes_is_no_class(tmp_path: Path) -> None:
    root = write_plain(tmp_path)
    shutil.copytree(write_plain(tmp_path.with_name("other"), 3), root / "test")
    assert names_and_counts(root, "train") == {"blue": 4, "green": 4, "red": 4}
    shutil.copytree(root / "test", root / "val")
    assert names_and_counts(root, "train") == {"blue": 5, "green": 5, "red": 5}
    assert names_and_counts(root, "val") == {"blue": 3, "green": 3, "red": 3}


def test_test_is_never_learned_from_nor_measured_with(tmp_path: Path) -> None:
    root = write_folders(tmp_path)
    (root / "val").rename(root / "test")
    assert names_and_counts(root, "train") == {"blue": 3, "green": 3, "red": 3}
    assert names_and_counts(root, "val") == {"blue": 1, "green": 1, "red": 1}
    shutil.rmtree(root / "train")
    with pytest.raises(FileNotFoundError, match="neither"):
        find_classification(root, "val")


def test_names_are_the_same_class_however_their_letters_are_composed(tmp_path: Path) -> None:
    root = write_plain(tmp_path / "plain")
    for folder, count in (("gr\xfcn", 5), ("gru\u0308n", 4)):
        (root / folder).mkdir()
        for k in range(count):
            picture((0, 200, 0), 40, k).save(root / folder / f"{k}.png")
    assert names_and_counts(root, "train")["gr\xfcn"] == 8
    assert len(find_classification(root, "train").names) == 4
    split = write_folders(tmp_path / "split")
    (split / "train" / "green").rename(split / "train" / "gr\xfcn")
    (split / "val" / "green").rename(split / "val" / "gru\u0308n")
    assert ClassificationTask.load(split, 32).names == ("blue", "gr\xfcn", "red")


def test_what_is_passed_over_is_counted_and_named_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_folders(tmp_path)
    for name in ("train/red/a.txt", "train/red/b.TXT", "val/blue/c.mov", "README", "train/red/.DS_Store", "x.heic"):
        (root / name).write_bytes(b"x")
    shutil.copytree(root / "val" / "red", root / "test" / "deep" / "red")
    shutil.copy(root / "val" / "red" / "0.png", root / "montage.png")
    ClassificationTask.load(root, 32)
    said = capsys.readouterr().out
    assert said.count("passed over") == 1
    assert "2 .txt" in said
    assert "1 .mov" in said
    assert "1 README" in said
    assert "1 .png (in no class)" in said
    assert "folder test/ (2 pictures)" in said
    assert "DS_Store" not in said


def test_a_kind_that_is_not_read_here_is_passed_over_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_plain(tmp_path)
    for k in range(3):
        (root / "red" / f"{k}.heif").write_bytes(b"a phone's")  # what is no HEIF at all is not read anywhere
    assert {file.path.suffix for file in find_classification(root, "train").files} == {".png"}
    ClassificationTask.load(root, 32)
    assert re.search(r"passed over: 3 \.heif \(.*allowed.*\)", capsys.readouterr().out)
    read_ground_truth("classify", root)
    assert "passed over: 3 .heif (" in capsys.readouterr().out


def test_other_splits_of_an_index_are_counted_and_val_may_be_called_valid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_sheets(tmp_path)
    text = gzip.decompress((root / "index.csv.gz").read_bytes()).decode()
    rows = text.replace("val,val", "valid,val").splitlines()
    rows += [row.replace("train,", "test,", 1) for row in rows if row.startswith("train,")]
    (root / "index.csv").write_text("\ufeff" + "\n".join(rows))
    task = ClassificationTask.load(root, 32)
    assert (task.count, task.validation_count) == (6, 6)
    assert capsys.readouterr().out == "passed over: 8 rows of split 'test'\n"


def test_an_index_of_something_else_does_not_hide_the_folders(tmp_path: Path) -> None:
    root = write_plain(tmp_path)
    (root / "index.csv").write_text("file,label\n")
    assert find_classification(root, "train").names == ("blue", "green", "red")


def test_names_of_an_index_are_the_same_class_however_their_letters_are_composed(tmp_path: Path) -> None:
    root = write_sheets(tmp_path)
    table = root / "classes.csv"
    table.write_text(table.read_text().replace("blue", "f\xf6n").replace("green", "fo\u0308n"), encoding="utf-8")
    found = find_classification(root, "train")
    assert found.names == ("f\xf6n", "red")
    assert [file.label for file in found.files] == [0, 0, 0, 0, 1, 1]


def test_rows_of_a_class_that_is_not_described_are_counted(tmp_path: Path) -> None:
    root = write_sheets(tmp_path)
    table = root / "classes.csv"
    table.write_text("".join(line for line in table.read_text().splitlines(keepends=True) if "red" not in line))
    found = find_classification(root, "train")
    assert found.names == ("blue", "green")
    assert found.rows == ("4 rows of a class that classes.csv does not have",)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        (
            "index.csv",
            "split,file,class_id\n",
            r"index\.csv has no column x or y or w or h; its first line must name split",
        ),
        ("index.csv", "", r"index\.csv has no column split"),
        ("classes.csv", "class_id,label\n0,a\n", r"classes\.csv has no column name"),
        ("index.csv", "split,file,x,y,w,h,class_id\nval,a.png,left,0,4,4,0\n", r"index\.csv: .*whole numbers.*'left'"),
        ("index.csv", "split,file\xe9\n", r"index\.csv: no text in UTF-8"),
    ],
)
def test_an_index_that_cannot_be_followed_is_named(name: str, text: str, reason: str, tmp_path: Path) -> None:
    root = write_sheets(tmp_path)
    (root / name).write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=reason):
        find_classification(root, "val")
