"""A manifest that does not fit together is refused with the file, the field and what is allowed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emo_serve.errors import InvalidManifest
from emo_serve.labels import read_labels
from emo_serve.manifest import MANIFEST_FILE, read_manifest, sha256_of, write_manifest
from tests.support import write_classifier, write_detector, write_segmenter


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = write_classifier(tmp_path_factory.mktemp("models"))
    content: dict[str, Any] = json.loads((folder / MANIFEST_FILE).read_text())
    return content


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = write_detector(tmp_path_factory.mktemp("models"))
    content: dict[str, Any] = json.loads((folder / MANIFEST_FILE).read_text())
    return content


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = write_segmenter(tmp_path_factory.mktemp("models"))
    content: dict[str, Any] = json.loads((folder / MANIFEST_FILE).read_text())
    return content


def refused(tmp_path: Path, content: dict[str, Any], change: Callable[[dict[str, Any]], object]) -> str:
    """The error message for the changed manifest."""
    changed = json.loads(json.dumps(content))
    change(changed)
    path = tmp_path / MANIFEST_FILE
    path.write_text(json.dumps(changed))
    with pytest.raises(InvalidManifest) as caught:
        read_manifest(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def test_a_written_manifest_is_read_as_it_was(tmp_path: Path) -> None:
    grouped = write_classifier(tmp_path, "grouped", groups=("warm", "cold", "cold"))
    for folder in (write_classifier(tmp_path), write_detector(tmp_path), write_segmenter(tmp_path), grouped):
        manifest = read_manifest(folder / MANIFEST_FILE)
        copy = tmp_path / "copy.json"
        write_manifest(manifest, copy)
        assert read_manifest(copy) == manifest
        assert copy.read_text().endswith("}\n")
        assert manifest.num_classes == 3


def test_a_missing_and_a_broken_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / MANIFEST_FILE
    with pytest.raises(InvalidManifest, match=r"manifest\.json: cannot be read: No such file"):
        read_manifest(path)
    path.write_text("{")
    with pytest.raises(InvalidManifest, match=r"manifest\.json: Invalid JSON"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.update(colour="red"), "colour: Extra inputs are not permitted"),
        (lambda m: m.pop("card"), "card: Field required"),
        (lambda m: m.update(name="../up"), "name: must match"),
        (lambda m: m.update(version="01"), "version: must match"),
        (lambda m: m.update(schema_version=2), "schema_version"),
        (lambda m: m.update(detection={}), "'detection' belongs to task 'detect'"),
        (lambda m: m["input"].update(dtype="float32"), "the input must be uint8"),
        (lambda m: m["input"].update(shape=[-1, 3, 32, 32]), "the input must be uint8"),
        (lambda m: m["outputs"][0].update(shape=[-1, 3, 1]), "must be float32 scores (-1, C)"),
        (lambda m: m["outputs"][0].update(shape=[-1, -1]), "must be float32"),
        (lambda m: m["outputs"][0].update(name="logits"), "must be float32 scores"),
        (lambda m: m["outputs"][0].update(dtype="uint8"), "must be float32"),
        (lambda m: m.update(outputs=[]), "must be float32"),
        (lambda m: m.update(outputs=m["outputs"] * 2), "must be float32"),
        (lambda m: m["preprocessing"].update(resize=None), "resize belongs to mode 'crop'"),
        (lambda m: m["preprocessing"].update(resize=16), "resize 16 is smaller than the crop 32x32"),
        (lambda m: m["preprocessing"].update(std=[0, 1, 1]), "preprocessing.std.0"),
        (lambda m: m["preprocessing"].update(mean=[float("nan"), 1, 1]), "preprocessing.mean.0"),
        (lambda m: m["preprocessing"].update(interpolation="nearest"), "preprocessing.interpolation"),
        (lambda m: m["sha256"].pop("labels.txt"), "sha256 must list model.onnx and labels.txt"),
        (lambda m: m["sha256"].update({"manifest.json": "0" * 64}), "and not manifest.json"),
        (lambda m: m["sha256"].update({"model.onnx": "abc"}), "sha256.model.onnx"),
        (lambda m: m["golden"].update(image_png_base64="*"), "golden.image_png_base64"),
        (lambda m: m["golden"].update(outputs=[]), "golden must check each of the outputs"),
        (lambda m: m["golden"]["outputs"][0]["values"].pop(), "same length"),
        (lambda m: m["golden"]["outputs"][0]["indices"].__setitem__(0, -1), "golden.outputs.0.indices.0"),
        (lambda m: m.update(groups=["warm", "cold"]), "groups must name one for each of the 3 classes, and it has 2"),
        (lambda m: m.update(groups=["warm"] * 4), "groups must name one for each of the 3 classes, and it has 4"),
        (lambda m: m.update(groups=[]), "groups must name one for each of the 3 classes, and it has 0"),
        (lambda m: m.update(groups=["warm", "", "cold"]), "groups.1"),
        (lambda m: m.update(groups=["warm", "cold ", "cold"]), "groups.1"),
        (lambda m: m.update(groups=["warm", "cold", "co\nld"]), "groups.2"),
        (lambda m: m.update(groups=["warm", "cold", "cold\n"]), "groups.2"),
        (lambda m: m.update(groups=["warm", "cold", 3]), "groups.2"),
        (lambda m: m.update(groups={"warm": ["red"]}), "groups"),
    ],
)
def test_what_does_not_fit_a_classifier_is_refused(
    tmp_path: Path, classifier: dict[str, Any], change: Callable[[dict[str, Any]], object], words: str
) -> None:
    assert words in refused(tmp_path, classifier, change)


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/passwd", "a/b", "..", ".hidden", "", "a\\b", "x\n"])
def test_a_digest_of_a_file_elsewhere_is_refused(tmp_path: Path, classifier: dict[str, Any], name: str) -> None:
    assert "sha256" in refused(tmp_path, classifier, lambda m: m["sha256"].update({name: "0" * 64}))


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["outputs"].reverse(),
        lambda m: m["outputs"][0].update(shape=[-1, 5, 4]),  # 5 boxes, 4 scores
        lambda m: m["outputs"][0].update(shape=[-1, 4, 5]),
        lambda m: m["outputs"][1].update(shape=[-1, 4]),
        lambda m: m["outputs"].pop(),
    ],
)
def test_outputs_that_do_not_fit_a_detector_are_refused(
    tmp_path: Path, detector: dict[str, Any], change: Callable[[dict[str, Any]], object]
) -> None:
    assert "must be float32 boxes (-1, A, 4), scores (-1, A, C)" in refused(tmp_path, detector, change)


def test_only_a_classifier_has_groups(tmp_path: Path, detector: dict[str, Any], segmenter: dict[str, Any]) -> None:
    for content in (detector, segmenter):
        words = refused(tmp_path, content, lambda m: m.update(groups=["warm", "cold", "cold"]))
        assert "'groups' belongs to task 'classify' and only there" in words


def test_a_detector_without_its_defaults_is_refused(tmp_path: Path, detector: dict[str, Any]) -> None:
    assert "'detection' belongs to task 'detect'" in refused(tmp_path, detector, lambda m: m.pop("detection"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m["outputs"][0].update(shape=[-1, 3, 8]), "must be float32 logits (-1, C, h, w)"),
        (lambda m: m["outputs"][0].update(name="scores"), "must be float32 logits (-1, C, h, w)"),
        (lambda m: m["outputs"][0].update(shape=[-1, 257, 8, 8]), "at most 256 classes, as many as a palette, not 257"),
        (lambda m: m["preprocessing"].update(padding=114), "padding belongs to mode 'fit'"),
        (lambda m: m["preprocessing"].update(mode="crop", resize=32), "allowed are 'stretch' and 'fit'"),
        (lambda m: m.update(detection={}), "'detection' belongs to task 'detect'"),
    ],
)
def test_what_does_not_fit_a_segmenter_is_refused(
    tmp_path: Path, segmenter: dict[str, Any], change: Callable[[dict[str, Any]], object], words: str
) -> None:
    assert words in refused(tmp_path, segmenter, change)


@pytest.mark.parametrize("content", ["cat\ndog, small\n猫\n", "cat\r\ndog, small\r\n猫", "cat\ndog, small\n猫"])
def test_labels_are_one_a_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(content.encode())
    assert read_labels(path) == ("cat", "dog, small", "猫")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "line 1 is empty"),
        (b"cat\n\ndog\n", "line 2 is empty"),
        (b"cat\ndog\n\n", "line 3 is empty"),
        (b"cat\n dog\n", "line 2 is empty, padded"),
        (b"cat\nd\0g\n", "line 2 is empty, padded or unprintable"),
        (b"cat\ndog\ncat\n", "'cat' occurs twice"),
        (b"\xff\xfe", "is not UTF-8"),
    ],
)
def test_bad_labels_are_refused_with_the_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    with pytest.raises(InvalidManifest, match=rf"labels\.txt: {words}"):
        read_labels(path)


def test_the_digest_is_sha256_in_hex(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert sha256_of(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
