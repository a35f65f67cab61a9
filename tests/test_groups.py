"""A table of groups is read as people and spreadsheets write it, or refused with the line."""

import os
from pathlib import Path

import pytest

from emo_serve.errors import InvalidManifest
from emo_serve.groups import read_groups


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "groups.csv"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        "name,group\ntabby,cat\npug,dog\n猫,cat\n",
        "\ufeffname,group\r\ntabby,cat\r\npug,dog\r\n猫,cat\r\n",
        'wnid,group,name\nn1,cat,tabby\nn2,"dog",pug\n,cat,猫\n,other,more than the model knows\n',
        "name,group\n tabby, cat \npug,dog\n猫,cat",
    ],
)
def test_each_label_gets_its_group_whatever_else_the_table_holds(tmp_path: Path, content: str) -> None:
    path = written(tmp_path, content.encode())
    assert read_groups(path, ("pug", "猫", "tabby")) == ("dog", "cat", "cat")


def test_names_and_groups_may_hold_commas_and_blanks(tmp_path: Path) -> None:
    path = written(tmp_path, b'name,group\n"crane, bird","hat, helmet  or\xc2\xa0mask"\n')
    assert read_groups(path, ("crane, bird",)) == ("hat, helmet or mask",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has no column group or name"),
        (b"tabby,cat\n", "has no column group or name"),
        (b"name,kind\ntabby,cat\n", "has no column group"),
        (b"name,group\ntabby,cat\npug\n", "line 3 lacks a name or a group"),
        (b"name,group\n,cat\n", "line 2 lacks a name or a group"),
        (b"name,group\ntabby, \n", "line 2 lacks a name or a group"),
        (b"name,group\ntabby,c\x07t\n", "line 2 lacks a name or a group, or they are unprintable"),
        (b"name,group\ntabby,cat\npug,dog\ntabby,dog\n", "line 4 is the second of 'tabby'"),
        (b"name,group\ntabby,\xff\n", "is no CSV table in UTF-8"),
        (b'name,group\ntabby,"cat\n', "is no CSV table in UTF-8"),
        (b"name,group\npug,dog\n", "has no group for 1 of the 1 classes: 'tabby'"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_the_reason(tmp_path: Path, content: bytes, words: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(InvalidManifest, match=r"groups\.csv: ") as caught:
        read_groups(path, ("tabby",))
    assert words in str(caught.value)


def test_of_many_classes_without_a_group_the_first_are_named(tmp_path: Path) -> None:
    path = written(tmp_path, b"name,group\nl7,x\n")
    with pytest.raises(InvalidManifest, match="for 8 of the 9 classes: 'l0', 'l1', 'l2', 'l3', 'l4', …"):
        read_groups(path, [f"l{number}" for number in range(9)])


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidManifest, match=r"none\.csv: cannot be read: No such file"):
        read_groups(tmp_path / "none.csv", ("tabby",))


def test_a_table_that_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.csv")
    with pytest.raises(InvalidManifest, match=r"fifo\.csv: cannot be read: it is a FIFO"):
        read_groups(tmp_path / "fifo.csv", ("tabby",))
