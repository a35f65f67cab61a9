"""What a command that adds a model says of the default, and writes down so that it stays."""

import json
import shutil
from pathlib import Path

from emo_serve.defaults import keep_default
from tests.support import write_classifier, write_detector


def said(root: Path) -> object:
    path = root / "defaults.json"
    return json.loads(path.read_text()) if path.exists() else None


def added(root: Path, name: str, version: str = "1") -> str:
    write_classifier(root, name=name, version=version)
    return keep_default(root, "classify", name)


def test_the_first_model_becomes_the_default_and_those_after_it_do_not(tmp_path: Path) -> None:
    assert added(tmp_path, "pets") == "default for classify: pets, which answers where a request names no model"
    assert said(tmp_path) == {"classify": "pets"}
    line = added(tmp_path, "a")
    assert line.startswith("default for classify: pets, as before; ")
    assert '{"classify": "a"} in defaults.json' in line
    write_detector(tmp_path, name="tools")
    assert "tools, which answers" in keep_default(tmp_path, "detect", "tools")
    assert said(tmp_path) == {"classify": "pets", "detect": "tools"}


def test_beside_the_shipped_model_nothing_has_to_be_written(tmp_path: Path) -> None:
    write_classifier(tmp_path, name="emo-1m")
    assert "emo-1m, as before" in added(tmp_path, "a")
    assert "emo-1m, as before" in added(tmp_path, "b")
    assert said(tmp_path) is None


def test_a_model_that_was_alone_stays_the_default_also_beside_one_named_like_the_shipped(tmp_path: Path) -> None:
    write_classifier(tmp_path, name="pets")
    assert "pets, as before" in added(tmp_path, "emo-1m")
    assert said(tmp_path) == {"classify": "pets"}


def test_a_new_version_of_the_only_model_is_no_new_model(tmp_path: Path) -> None:
    write_classifier(tmp_path, name="pets")
    assert "pets, which answers" in added(tmp_path, "pets", "2")


def test_where_several_are_there_already_none_is_chosen(tmp_path: Path) -> None:
    write_classifier(tmp_path, name="a")
    write_classifier(tmp_path, name="b")
    assert "none, as there are several (a, b, c)" in added(tmp_path, "c")
    assert "none, as there are several (a, b, c)" in added(tmp_path, "b", "2")
    assert said(tmp_path) is None


def test_what_is_said_of_a_model_that_has_gone_is_forgotten(tmp_path: Path) -> None:
    added(tmp_path, "pets")
    shutil.rmtree(tmp_path / "pets")
    assert "dogs, which answers" in added(tmp_path, "dogs")
    assert said(tmp_path) == {"classify": "dogs"}


def test_a_broken_file_is_left_alone_and_named(tmp_path: Path) -> None:
    (tmp_path / "defaults.json").write_text("{")
    assert "defaults.json cannot be read or written" in added(tmp_path, "pets")
    assert (tmp_path / "defaults.json").read_text() == "{"
