"""Good models are found, broken ones named, and the one never hides the other."""

import json
import os
from pathlib import Path

import pytest

from emo_serve.engine.repository.artefacts import Artefact, scan
from emo_serve.errors import InvalidManifest, StartupError
from emo_serve.manifest import MANIFEST_FILE, sha256_of
from tests.support import COLOURS, write_classifier, write_detector


def names(artefacts: tuple[Artefact, ...]) -> list[tuple[str, str]]:
    return [(artefact.manifest.name, artefact.manifest.version) for artefact in artefacts]


def edit(folder: Path, **changes: object) -> None:
    """Change top-level fields of a manifest."""
    path = folder / MANIFEST_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def failure(root: Path, path: Path) -> str:
    """The one failure that scanning reports, beside a good model."""
    found = scan(root)
    assert names(found.artefacts) == [("good", "1")]
    assert list(found.failures) == [path]
    return str(found.failures[path])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with one good model."""
    write_detector(tmp_path, "good")
    return tmp_path


def test_every_version_of_every_model_is_found_in_order(tmp_path: Path) -> None:
    for name, version in (("b", "10"), ("b", "9"), ("a", "1")):
        write_classifier(tmp_path, name, version)
    found = scan(tmp_path)
    assert names(found.artefacts) == [("a", "1"), ("b", "9"), ("b", "10")]
    assert not found.failures
    assert found.artefacts[0].labels == COLOURS
    assert found.artefacts[0].model_path == tmp_path / "a" / "1" / "model.onnx"


def test_files_and_hidden_folders_are_ignored(root: Path) -> None:
    (root / "README.md").write_text("models")
    (root / "good" / "notes.txt").write_text("notes")
    (root / ".git" / "1").mkdir(parents=True)
    (root / "good" / ".2").mkdir()
    found = scan(root)
    assert names(found.artefacts) == [("good", "1")]
    assert not found.failures


def test_a_linked_model_is_found(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = write_classifier(tmp_path_factory.mktemp("elsewhere"), "linked")
    (root / "linked").symlink_to(elsewhere.parent)
    assert names(scan(root).artefacts) == [("good", "1"), ("linked", "1")]


def test_a_missing_repository_is_a_failure_that_names_it(tmp_path: Path) -> None:
    found = scan(tmp_path / "nowhere")
    assert not found.artefacts
    assert str(found.failures[tmp_path / "nowhere"]).endswith("nowhere: cannot be listed: No such file or directory")


def test_an_empty_repository_is_a_failure_that_says_what_belongs_into_it(tmp_path: Path) -> None:
    error = scan(tmp_path).failures[tmp_path]
    assert isinstance(error, StartupError)
    assert "holds no model; a model is <name>/<version>/manifest.json" in str(error)


def test_a_model_without_a_version_is_a_failure(root: Path) -> None:
    (root / "bare").mkdir()
    assert "bare: holds no version; put the model into" in failure(root, root / "bare")


def test_a_version_without_a_manifest_is_a_failure(root: Path) -> None:
    (root / "bare" / "1").mkdir(parents=True)
    assert "manifest.json: cannot be read" in failure(root, root / "bare" / "1")


def test_an_altered_file_is_a_failure_that_names_it(root: Path) -> None:
    folder = write_classifier(root, "altered")
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"\0")
    message = failure(root, folder)
    assert "altered/1/model.onnx: its sha256 is" in message
    assert isinstance(scan(root).failures[folder], InvalidManifest)


def test_what_git_lfs_leaves_in_a_clone_is_called_that(root: Path) -> None:
    folder = write_classifier(root, "cloned")
    (folder / "model.onnx").write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 5\n")
    assert "`git lfs pull` fetches" in failure(root, folder)


def test_a_missing_file_is_a_failure_that_names_it(root: Path) -> None:
    folder = write_classifier(root, "partial")
    (folder / "model.onnx").unlink()
    assert "partial/1/model.onnx: cannot be read: No such file" in failure(root, folder)


def test_labels_that_are_too_few_are_a_failure(root: Path) -> None:
    folder = write_classifier(root, "few")
    (folder / "labels.txt").write_text("red\ngreen\n")
    edit(folder, sha256={file: sha256_of(folder / file) for file in ("model.onnx", "labels.txt")})
    assert "labels.txt: has 2 labels, the model has 3 classes" in failure(root, folder)


@pytest.mark.parametrize("change", [{"name": "other"}, {"version": "2"}])
def test_a_manifest_of_another_folder_is_a_failure(root: Path, change: dict[str, str]) -> None:
    folder = write_classifier(root, "mine")
    edit(folder, **change)
    assert "folder and manifest must agree" in failure(root, folder)


def test_a_file_outside_the_folder_is_never_read(root: Path) -> None:
    folder = write_classifier(root, "curious")
    digests = {file: sha256_of(folder / file) for file in ("model.onnx", "labels.txt")}
    edit(folder, sha256=digests | {"../../good/1/model.onnx": "0" * 64})
    assert "sha256" in failure(root, folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_folder_is_a_failure_that_names_it(root: Path) -> None:
    (root / "closed").mkdir(mode=0)
    assert "closed: cannot be listed: Permission denied" in failure(root, root / "closed")
