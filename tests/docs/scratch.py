"""A folder in which the pages can be followed: the repository's files, and stand-ins for a reader's own."""

import json
import shutil
import sys
from pathlib import Path

import skimage.data
from PIL import Image

from tests.docs.blocks import ROOT
from tests.onnx_import import networks
from tests.support import write_detector, write_segmenter

PHOTO = ROOT / "docs" / "images" / "motorcycle.jpg"
NEW_VERSIONS = (4, 5, 6)


def write_scratch(folder: Path) -> None:
    """Fill ``folder``; under the names that the pages use, files as their readers may have them."""
    (folder / ".venv").symlink_to(sys.prefix)
    for name in ("checkpoints", "bench"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "docs" / "images", folder / "docs" / "images")
    shutil.copytree(ROOT / "models", folder / "models")
    write_segmenter(folder / "models", "areas")
    write_detector(folder / "models", "tools", "2")
    for version in NEW_VERSIONS:
        _write_version(folder, version)
    _write_photos(folder)
    _write_networks(folder)


def _write_version(folder: Path, version: int) -> None:
    """``emo-1m`` once more, as a newer version beside the repository."""
    new = folder / f"version-{version}"
    shutil.copytree(max((ROOT / "models" / "emo-1m").iterdir(), key=lambda path: int(path.name)), new)
    manifest = json.loads((new / "manifest.json").read_text(encoding="utf-8"))
    (new / "manifest.json").write_text(json.dumps(manifest | {"version": str(version)}), encoding="utf-8")


def _write_photos(folder: Path) -> None:
    cat = Image.fromarray(skimage.data.chelsea())
    for name in ("photo.jpg", "street.jpg", "holiday/1.jpg", "archive/1.jpg", "archive/2.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(PHOTO, folder / name)
    (folder / "shelf" / "upper").mkdir(parents=True)
    cat.save(folder / "shelf" / "upper" / "1.png")
    cat.save(folder / "cat.jpg")
    for name in ("tabby", "Egyptian cat"):
        (folder / "DATA" / "val" / name).mkdir(parents=True)
        cat.save(folder / "DATA" / "val" / name / "1.jpg")


def _write_networks(folder: Path) -> None:
    """Networks of three colours."""
    for name in ("labels.txt", "imagenet.txt"):
        (folder / name).write_text("red\ngreen\nblue\n", encoding="utf-8")
    networks.write_classifier(folder / "resnet50.onnx")
    networks.write_yolo(folder / "yolov8n.onnx", objectness=False)
    networks.write_ssd(folder / "network.onnx")
    exported = folder / "vit-cats"
    exported.mkdir()
    networks.write_classifier(exported / "model.onnx")
    labels = {"0": "red", "1": "green", "2": "blue"}
    config = {"architectures": ["ViTForImageClassification"], "model_type": "vit", "id2label": labels}
    processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
    (exported / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (exported / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
