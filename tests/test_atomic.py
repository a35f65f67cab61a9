"""Files and folders that are written whole or not at all."""

from pathlib import Path

import pytest

from emo_serve.atomic import draft_of, write_whole


def test_a_folder_appears_when_all_of_it_is_written(tmp_path: Path) -> None:
    target = tmp_path / "name" / "1"
    with draft_of(target) as draft:
        (draft / "file").write_text("whole")
        assert not target.exists()
    assert (target / "file").read_text() == "whole"
    assert [path.name for path in target.parent.iterdir()] == ["1"]


def write_half(target: Path) -> None:
    with draft_of(target) as draft:
        (draft / "file").write_text("half")
        msg = "in the middle"
        raise ValueError(msg)


def test_nothing_is_left_of_a_folder_that_failed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="in the middle"):
        write_half(tmp_path / "name" / "1")
    assert list(tmp_path.iterdir()) == []


def test_what_an_earlier_attempt_left_is_not_part_of_the_next(tmp_path: Path) -> None:
    target = tmp_path / "1"
    (tmp_path / ".1.partial").mkdir()
    (tmp_path / ".1.partial" / "old").write_text("cut off")
    with draft_of(target) as draft:
        (draft / "new").write_text("whole")
    assert [path.name for path in target.iterdir()] == ["new"]


def test_a_file_is_replaced_in_one_step_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    reader = path.open()
    write_whole(path, "new, ä")
    assert path.read_text(encoding="utf-8") == "new, ä"
    with reader:
        assert reader.read() == "old"
    assert list(tmp_path.iterdir()) == [path]
