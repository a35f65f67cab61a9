"""The command `emo-serve promote`: a version that was tried answers alone, and back."""

import json
from pathlib import Path
from typing import Any

import pytest

from emo_serve.__main__ import main
from tests.support import write_classifier

NAME = "toy-classifier"
TRIED: dict[str, Any] = {
    "aliases": {"canary": "2", "default": "1"},
    "unloaded": ["3"],
    "splits": {"default": {"shares": {"1": 0.9, "2": 0.1}, "by": "client", "header": None}},
    "shadows": {"canary": {"version": "1", "share": 0.5}, "default": {"version": "2", "share": 1.0}},
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with a model of three versions, of which the second is tried."""
    for version in ("1", "2", "3"):
        write_classifier(tmp_path, version=version)
    write(tmp_path, TRIED)
    return tmp_path


def write(root: Path, content: dict[str, Any]) -> None:
    (root / NAME / "serving.json").write_text(json.dumps(content))


def read(root: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((root / NAME / "serving.json").read_text())
    return content


def run(root: Path, *arguments: str) -> int:
    return main(["promote", "--models", str(root), *arguments])


def test_a_version_that_was_tried_answers_alone_and_the_former_is_remembered(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(root, NAME, "2") == 0
    content = read(root)
    assert content["aliases"] == {"canary": "2", "default": "2"}
    assert "splits" not in content
    assert content["shadows"] == {"canary": TRIED["shadows"]["canary"]}  # of another alias
    assert (content["former"], content["unloaded"]) == ({"default": "1"}, ["3"])
    said = capsys.readouterr().out.splitlines()
    assert said[:4] == [
        "toy-classifier: 'default' names version 2, before 1",
        "its split ends: 1 with 0.9, 2 with 0.1",
        "its shadow ends: 2",
        "to undo it: emo-serve promote --back toy-classifier",
    ]


def test_back_restores_the_former_version_once(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, "toy_classifier", "2") == 0
    assert run(root, "--back", NAME) == 0
    assert read(root)["aliases"]["default"] == "1"
    assert "former" not in read(root)
    capsys.readouterr()
    assert run(root, "--back", NAME) == 1
    assert "Nothing was promoted for the alias 'default'" in capsys.readouterr().err


def test_each_alias_has_a_former_version_of_its_own(root: Path) -> None:
    assert run(root, NAME, "1", "--alias", "canary") == 0
    assert run(root, NAME, "2") == 0
    assert read(root)["former"] == {"canary": "2", "default": "1"}
    assert run(root, "--back", NAME, "--alias", "canary") == 0
    assert (read(root)["aliases"], read(root)["former"]) == ({"canary": "2", "default": "2"}, {"default": "1"})


@pytest.mark.parametrize("arguments", [(NAME, "2"), ("--back", NAME)])
def test_a_dry_run_says_what_would_change_and_writes_nothing(
    root: Path, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    if "--back" in arguments:
        run(root, NAME, "2")
        capsys.readouterr()
    config = root / NAME / "serving.json"
    before = config.stat().st_ino, config.read_bytes()
    assert run(root, *arguments, "--dry-run") == 0
    assert (config.stat().st_ino, config.read_bytes()) == before
    said = capsys.readouterr().out
    assert "'default' names version" in said
    assert said.endswith("Nothing was written: this was a dry run.\n")


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("nothing", "2"), "has no model 'nothing'; there are: toy-classifier"),
        (("../models", "2"), "has no model"),
        ((NAME, "1"), "neither has a share of 'default' nor is its shadow; candidates: 2"),
        ((NAME, "7"), "candidates: 2"),
        ((NAME, "../2"), "a version is a whole number"),
        ((NAME, "2", "--alias", "other"), "candidates: none"),
        ((NAME, "2", "--alias", "No"), "an alias is a small letter"),
        (("--back", NAME), "Nothing was promoted"),
    ],
)
def test_what_cannot_be_promoted_is_said_and_nothing_is_changed(
    root: Path, arguments: tuple[str, ...], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(root, *arguments) == 1
    assert fault in capsys.readouterr().err
    assert read(root) == TRIED


def test_a_version_whose_files_are_damaged_or_gone_is_not_promoted(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / NAME / "2/labels.txt").write_text("nothing\n")
    assert run(root, NAME, "2") == 1
    assert "2/labels.txt: its sha256 is" in capsys.readouterr().err
    (root / NAME / "2").rename(root / ".2")
    assert run(root, NAME, "2") == 1
    assert "2/manifest.json: cannot be read" in capsys.readouterr().err
    assert read(root) == TRIED


def test_a_config_that_cannot_be_read_is_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(root, {**TRIED, "splits": {"default": {"shares": {"1": 0.9, "2": 0.2}}}})
    assert run(root, NAME, "2") == 1
    assert "serving.json: splits.default: the shares are 1.1 together, and must be 1" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [(NAME,), (NAME, "2", "--back"), ()])
def test_either_a_version_or_back_has_to_be_said(root: Path, arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(root, *arguments)
    assert read(root) == TRIED


def test_an_alias_that_is_only_remembered_comes_back(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(root, {"former": {"default": "2"}})
    assert run(root, NAME, "--back") == 0
    assert read(root)["aliases"] == {"default": "2"}
    assert capsys.readouterr().out.splitlines()[0] == "toy-classifier: 'default' names version 2, before none"
