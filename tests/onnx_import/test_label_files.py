"""Files with class names as people have them, and names in a network's metadata."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.onnx_import.adding import add, refused
from tests.onnx_import.fixed import with_metadata
from tests.onnx_import.networks import write_classifier


def served(tmp_path: Path) -> list[str]:
    return (tmp_path / "models/theirs/1/labels.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfcat\ndog\nfox\n",  # a BOM
        b"cat\r\ndog\r\nfox\r\n",
        b"cat\rdog\rfox",
        b"cat\ndog\nfox\n\n \n",
        b" cat\ndog \nfox\t",
        "cat\r\ndog\r\nfox\r\n".encode("utf-16"),  # Notepad's "Unicode"
        b"0: cat\n1: dog\n2: fox\n",
        b"1,cat\n2,dog\n3,fox\n",
        b"0\tcat\n1\tdog\n2\tfox\n",
    ],
)
def test_a_file_of_names_is_read_however_its_lines_end_or_begin(tmp_path: Path, content: bytes) -> None:
    file = write_classifier(tmp_path / "a.onnx")
    (tmp_path / "names.txt").write_bytes(content)
    assert add(file, "classify", "--labels", tmp_path / "names.txt") == 0
    assert served(tmp_path) == ["cat", "dog", "fox"]


def test_numbers_that_are_part_of_names_stay(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("1: one\n2: two\n5: five\n")
    assert add(write_classifier(tmp_path / "a.onnx"), "classify", "--labels", tmp_path / "names.txt") == 0
    assert served(tmp_path) == ["1: one", "2: two", "5: five"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"cat\n\ndog\nfox\n", "names.txt: line 2 is empty; where there is no class, write N/A"),
        (b"cat\nd\x07og\nfox\n", "names.txt: line 2 is unprintable"),
        (b"crane\ndog\ncrane\n", "names.txt: line 1 and 3 are both 'crane'; class names must differ, so change one"),
        (b"cat,dog,fox\n", "names.txt needs one class name a line, 1 found"),
        (b"", "names.txt: holds no labels"),
        (b"N/A\nN/A\nN/A\n", "names.txt: holds no class name"),
    ],
)
def test_names_that_cannot_be_right_are_refused_with_file_and_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, words: str
) -> None:
    (tmp_path / "names.txt").write_bytes(content)
    assert add(write_classifier(tmp_path / "a.onnx"), "classify", "--labels", tmp_path / "names.txt") == 1
    assert words in refused(capsys, tmp_path / "models")


def test_a_file_in_another_encoding_is_refused_with_a_command_that_mends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, names = write_classifier(tmp_path / "a.onnx"), tmp_path / "it's names.txt"
    names.write_bytes("fox\ncafé\ndog\n".encode("latin-1"))
    assert add(file, "classify", "--labels", names) == 1
    message = refused(capsys, tmp_path / "models")
    assert "line 2 is not UTF-8" in message
    command = re.search("`(.*)`", message)
    assert command is not None
    subprocess.run(["sh", "-c", command[1]], cwd=tmp_path, check=True)  # as a person would type it
    assert add(file, "classify", "--labels", tmp_path / "labels-utf8.txt") == 0
    assert served(tmp_path) == ["fox", "café", "dog"]


@pytest.mark.parametrize(
    "names", ["{0: 'cat', 1: 'dog', 2: 'fox'}", "['cat', 'dog', 'fox']", '{"0": "cat", "2": "fox", "1": "dog"}']
)
def test_names_in_the_file_are_the_labels_as_a_dict_a_list_or_json(tmp_path: Path, names: str) -> None:
    assert add(with_metadata(write_classifier(tmp_path / "a.onnx"), names=names), "classify") == 0
    assert served(tmp_path) == ["cat", "dog", "fox"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("['crane', 'dog', 'crane']", "of which number 0 and 2 are both 'crane'; class names must differ; give others"),
        ("['crane', '', 'dog']", "of which number 1 is empty"),
        ("['crane', 'dog']", "there are 2 labels, but the graph gives 3 scores"),
    ],
)
def test_names_in_the_file_that_cannot_be_right_are_mended_by_labels(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str], names: str, words: str
) -> None:
    file = with_metadata(write_classifier(tmp_path / "a.onnx"), names=names)
    assert add(file, "classify") == 1
    message = refused(capsys, tmp_path / "models")
    assert words in message
    assert str(file) in message
    assert "--labels" in message
    assert add(file, "classify", "--labels", labels) == 0


def test_a_number_that_stands_for_nothing_is_not_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "names.txt").write_text("cat\nN/A\nn/a\nfox\n???\n")
    file = write_classifier(tmp_path / "a.onnx", classes=5)
    assert add(file, "classify", "--labels", tmp_path / "names.txt") == 0
    assert served(tmp_path) == ["cat", "fox"]
    assert "2, of --labels, without 3 that stand for nothing: cat, fox" in capsys.readouterr().out


def test_labels_that_are_no_file_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_classifier(tmp_path / "a.onnx")
    for name in ("nowhere.txt", "."):
        assert add(file, "classify", "--labels", tmp_path / name) == 1
        assert f"{tmp_path / name}: " in refused(capsys, tmp_path / "models")
