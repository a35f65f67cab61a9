"""The file of a network, and weights beside it."""

import hashlib
import json
from pathlib import Path

import onnx
import pytest

from tests.onnx_import.adding import add, ask, refused
from tests.onnx_import.networks import write_classifier
from tests.support import plain

pytestmark = pytest.mark.anyio


def split(file: Path, location: str) -> Path:
    """Copy of the network with its weights in another file."""
    model = onnx.load(file)
    onnx.save(model, file, save_as_external_data=True, location=location, size_threshold=0)
    return file


async def test_weights_beside_the_file_are_taken_into_the_model(tmp_path: Path, labels: Path) -> None:
    file = split(write_classifier(tmp_path / "a.onnx"), "a.onnx.data")
    digests = [hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("a.onnx", "a.onnx.data")]
    assert add(file, "classify", "--labels", labels) == 0
    folder = tmp_path / "models/theirs/1"
    assert sorted(path.name for path in folder.iterdir()) == ["labels.txt", "manifest.json", "model.onnx"]
    recipe = json.loads((folder / "manifest.json").read_text())["card"]["recipe"]
    assert recipe == f"added from a.onnx, sha256 {digests[0]} and a.onnx.data, sha256 {digests[1]}"
    (tmp_path / "a.onnx.data").unlink()
    ((best, *_),) = await ask(tmp_path / "models", "classify", plain("blue"))
    assert best["name"] == "blue"


def test_weights_that_are_not_there_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = split(write_classifier(tmp_path / "a.onnx"), "weights.bin")
    (tmp_path / "weights.bin").rename(tmp_path / "elsewhere")
    assert add(file, "classify") == 1
    message = refused(capsys, tmp_path / "models")
    assert f"{file}: keeps weights in weights.bin, which is not there" in message
    (tmp_path / "elsewhere").rename(tmp_path / "weights.bin")
    assert add(file, "classify") == 0


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/hostname"])
def test_weights_outside_of_the_folder_are_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], location: str
) -> None:
    file = split(write_classifier(tmp_path / "a.onnx"), "weights.bin")
    model = onnx.load(file, load_external_data=False)
    for tensor in model.graph.initializer:
        next(entry for entry in tensor.external_data if entry.key == "location").value = location
    file.write_bytes(model.SerializeToString())
    assert add(file, "classify") == 1
    assert "outside of its folder" in refused(capsys, tmp_path / "models")


def test_weights_that_are_cut_off_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = split(write_classifier(tmp_path / "a.onnx"), "weights.bin")
    (tmp_path / "weights.bin").write_bytes(b"\0" * 8)
    assert add(file, "classify") == 1
    assert str(file) in refused(capsys, tmp_path / "models")


@pytest.mark.parametrize("name", ["nowhere.onnx", "."])
def test_what_is_no_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (tmp_path / "models").mkdir()
    assert add(tmp_path / "models" / ".." / name, "classify") == 1
    assert "regular file" in (message := capsys.readouterr().err) or "No such file" in message
