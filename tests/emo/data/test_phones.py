"""Photos as phones make them, HEIC and AVIF: learned from as the server reads them, or named with what is missing."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emo.data.detection import find_detection
from emo.data.folders import find_classification, load_squares
from emo.data.pictures import open_rgb, sizes_of
from emo.evaluation.ground_truth import read_ground_truth
from emo.training.classification import ClassificationTask
from emo.training.detection import DetectionTask
from emo_serve.vision import sniffing
from tests.emo.data.test_voc import write as write_voc
from tests.emo.data.test_yolo import write_splits
from tests.emo.datasets import COLOURS, write_coco, write_plain
from tests.vision.files import STORED_AS, encoded

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
PHONES = {"HEIC": (".heic", ".HEIC", ".heif"), "AVIF": (".avif",)}
BOTH = pytest.mark.parametrize("name", PHONES)


def convert(path: Path, name: str, number: int = 0) -> Path:
    """Replace a picture by its copy as a phone writes it."""
    taken = path.with_suffix(PHONES[name][number % len(PHONES[name])])
    taken.write_bytes(encoded(Image.open(path).convert("RGB"), name, quality=95))
    path.unlink()
    return taken


def convert_all(root: Path, name: str) -> None:
    for number, path in enumerate(sorted(root.rglob("*.png")) + sorted(root.rglob("*.jpg"))):
        convert(path, name, number)


@pytest.fixture
def without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sniffing, "HAS_HEIC", False)
    monkeypatch.setattr(sniffing, "FORMATS", tuple(name for name in sniffing.FORMATS if name != "HEIC"))


@BOTH
def test_class_folders_are_learned_from(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    convert_all(write_plain(tmp_path), name)
    found = find_classification(tmp_path, "train")
    squares, labels = load_squares(found, 32)
    assert len(squares) == 12
    for square, label in zip(squares, labels, strict=True):
        assert np.abs(square.mean((0, 1)) - COLOURS[found.names[label]]).max() < 12
    assert len(ClassificationTask.load(tmp_path, 32).names) == 3
    assert len(read_ground_truth("classify", tmp_path).pictures) == 3
    assert "passed over" not in capsys.readouterr().out


@BOTH
def test_detection_data_of_every_kind_is_learned_from(name: str, tmp_path: Path) -> None:
    coco, yolo, voc = write_coco(tmp_path / "coco"), write_splits(tmp_path / "yolo"), tmp_path / "voc"
    write_voc(voc / "JPEGImages", voc / "Annotations", range(10))
    for root in (coco, yolo, voc):
        convert_all(root, name)
    for path in coco.glob("instances_*.json"):
        document = json.loads(path.read_text())
        for image in document["images"]:
            place = coco / image["file_name"]
            (taken,) = place.parent.glob(f"{place.stem}.*")
            image["file_name"] = taken.relative_to(coco).as_posix()
        path.write_text(json.dumps(document))
    for root, count in ((coco, 4), (yolo, 4), (voc, 8)):
        assert DetectionTask.load(root).count == count
        assert {path.path.suffix for path in find_detection(root, "train").images} <= set(PHONES[name])


@BOTH
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_they_are_turned_as_the_server_turns_them(name: str, orientation: int, tmp_path: Path) -> None:
    upright = Image.new("RGB", (48, 32), (200, 30, 30))
    upright.paste((30, 30, 200), (0, 0, 24, 16))
    turn = STORED_AS[orientation]
    metadata = Image.Exif()
    metadata[0x0112] = orientation
    assert turn is not None
    path = tmp_path / f"a{PHONES[name][0]}"
    path.write_bytes(encoded(upright.transpose(turn), name, exif=metadata.tobytes(), quality=95))
    assert sizes_of(path).shown == (48, 32)
    assert np.abs(open_rgb(path).astype(int) - np.asarray(upright).astype(int)).mean() < 12


@pytest.mark.usefixtures("without_the_package")
def test_without_the_package_class_folders_pass_them_over_with_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_plain(tmp_path)
    for k in range(2):
        convert(root / "red" / f"{k}.png", "HEIC")
    task = ClassificationTask.load(root, 32)
    assert task.count + task.validation_count == 13
    said = capsys.readouterr().out
    assert "passed over: 2 .heic (" in said
    assert "pip install 'emo-serve[heic]'" in said


@pytest.mark.usefixtures("without_the_package")
def test_without_the_package_detection_data_is_refused_with_what_to_install(tmp_path: Path) -> None:
    root = write_splits(tmp_path)
    convert(root / "images" / "train" / "1.png", "HEIC")
    with pytest.raises(ValueError, match=r"1\.heic: .*pip install 'emo-serve\[heic\]'"):
        DetectionTask.load(root)


def test_one_that_is_something_else_does_not_leave_out_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_plain(tmp_path)
    for k in range(5):
        convert(root / "red" / f"{k}.png", "AVIF")
    (root / "red" / "+live.avif").write_bytes(b"\0\0\0\x14ftypqt  \0\0\0\0qt  ")  # the film of a live photo
    found = [find_classification(root, split) for split in ("train", "val")]
    assert sum(file.path.suffix == ".avif" for split in found for file in split.files) >= 5
    with pytest.raises(ValueError, match=r"1 pictures cannot be used.*live\.avif"):
        ClassificationTask.load(root, 32)
    assert "passed over" not in capsys.readouterr().out
