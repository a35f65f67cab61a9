"""Pictures and labels from disk: contact sheets with a CSV index, image folders, COCO JSON."""

import csv
import gzip
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """A rectangle (x, y, width, height in pixels; None for all) of a picture file and its label."""

    path: Path
    rectangle: tuple[int, int, int, int] | None
    label: int


@dataclass(frozen=True, slots=True)
class LabelledFiles:
    """One split of a classification data set; label i is called ``names[i]``."""

    names: tuple[str, ...]
    files: tuple[LabelledFile, ...]

    def pictures(self, description: str) -> Iterator[tuple[Image.Image, int]]:
        """RGB pictures and labels in file order; a contact sheet is decoded once. Shows a progress bar."""
        sheet_path, sheet = None, None
        for file in tqdm(self.files, description, unit="img", mininterval=2):
            if file.path != sheet_path or sheet is None:
                sheet_path, sheet = file.path, Image.open(file.path).convert("RGB")
            picture = sheet
            if file.rectangle is not None:
                x, y, width, height = file.rectangle
                picture = sheet.crop((x, y, x + width, y + height))
            yield picture, file.label


def find_classification(root: Path, split: str) -> LabelledFiles:
    """The split ``train`` or ``val`` of ``root``, which holds one of two layouts.

    Either ``index.csv`` or ``index.csv.gz`` (split, file, x, y, w, h, class_id) with ``classes.csv`` (class_id, name
    and, if wanted, sensitive: 1 leaves a class out), or one folder ``<split>/<class name>/`` of pictures a class.
    Raise FileNotFoundError when there is neither.
    """
    for index in (root / "index.csv", root / "index.csv.gz"):
        if index.exists():
            return _from_index(root, index, split)
    folders = sorted(folder for folder in (root / split).glob("*") if folder.is_dir())
    if not folders:
        msg = f"{root} has neither index.csv nor folders {split}/<class name>/"
        raise FileNotFoundError(msg)
    files = tuple(
        LabelledFile(path, None, label)
        for label, folder in enumerate(folders)
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in PICTURES
    )
    return LabelledFiles(tuple(folder.name for folder in folders), files)


def _from_index(root: Path, index: Path, split: str) -> LabelledFiles:
    with (root / "classes.csv").open(newline="", encoding="utf-8") as file:
        classes = [row for row in csv.DictReader(file) if row.get("sensitive", "0") != "1"]
    label_of = {row["class_id"]: label for label, row in enumerate(classes)}
    text = gzip.decompress(index.read_bytes()) if index.suffix == ".gz" else index.read_bytes()
    rows = csv.DictReader(io.StringIO(text.decode()))
    files = tuple(
        LabelledFile(
            root / row["file"], (int(row["x"]), int(row["y"]), int(row["w"]), int(row["h"])), label_of[row["class_id"]]
        )
        for row in rows
        if row["split"] == split and row["class_id"] in label_of
    )
    return LabelledFiles(tuple(row["name"] for row in classes), files)


def load_squares(files: LabelledFiles, side: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All pictures of a split as squares (N, side, side, 3) and labels (N,): short side to ``side``, centre cut out."""
    squares = np.empty((len(files.files), side, side, 3), np.uint8)
    labels = np.empty(len(files.files), np.int64)
    for row, (picture, label) in enumerate(files.pictures("load")):
        short = min(picture.size)
        left, top = (picture.width - short) / 2, (picture.height - short) / 2
        box = (left, top, left + short, top + short)
        squares[row] = np.asarray(picture.resize((side, side), Image.Resampling.LANCZOS, box=box))
        labels[row] = label
    return squares, labels


@dataclass(frozen=True, slots=True)
class BoxedImage:
    """One picture of a detection data set with its objects."""

    path: Path
    image_id: int
    boxes_xyxy: NDArray[np.float32]  # (K, 4) in pixels
    labels: NDArray[np.int64]  # (K,)


@dataclass(frozen=True, slots=True)
class BoxedImages:
    """A COCO data set; label i is called ``names[i]`` and has the category ``category_ids[i]`` in the file."""

    names: tuple[str, ...]
    category_ids: tuple[int, ...]
    images: tuple[BoxedImage, ...]


def read_coco(annotations: Path, images: Path) -> BoxedImages:
    """The boxes of a COCO JSON whose file names are relative to ``images``; crowds and empty boxes are left out."""
    content = json.loads(annotations.read_text(encoding="utf-8"))
    categories = sorted(content["categories"], key=lambda category: category["id"])
    label_of = {category["id"]: label for label, category in enumerate(categories)}
    found: dict[int, list[tuple[Sequence[float], int]]] = {image["id"]: [] for image in content["images"]}
    for box in content["annotations"]:
        x, y, width, height = box["bbox"]
        if not box.get("iscrowd") and width > 1 and height > 1:
            found[box["image_id"]].append(((x, y, x + width, y + height), label_of[box["category_id"]]))
    boxed = tuple(
        BoxedImage(
            images / image["file_name"],
            image["id"],
            np.array([box for box, _ in found[image["id"]]], np.float32).reshape(-1, 4),
            np.array([label for _, label in found[image["id"]]], np.int64),
        )
        for image in content["images"]
    )
    return BoxedImages(
        tuple(category["name"] for category in categories), tuple(category["id"] for category in categories), boxed
    )


def open_rgb(path: Path) -> NDArray[np.uint8]:
    """A picture file as (H, W, 3)."""
    with Image.open(path) as opened:
        return np.asarray(opened.convert("RGB"))


def cut_boxes(data: BoxedImages, side: int, target: Path) -> int:
    """Write each box, grown to a square with a tenth of context, as ``target/<name>/<picture>_<k>.jpg``.

    Gives the number of files written. Boxes under 16 pixels are too coarse to be worth it. Existing files are kept, so
    that a second call goes on.
    """
    written = 0
    for image in tqdm(data.images, "cut", unit="img", mininterval=2):
        with Image.open(image.path) as opened:
            picture = opened.convert("RGB")
        for k, (box, label) in enumerate(zip(image.boxes_xyxy, image.labels, strict=True)):
            path = target / data.names[label] / f"{image.path.stem}_{k}.jpg"
            x1, y1, x2, y2 = (float(value) for value in box)
            half = max(x2 - x1, y2 - y1) * 0.55
            if half < 8 or path.exists():
                continue
            centre_x, centre_y = (x1 + x2) / 2, (y1 + y2) / 2
            square = (
                max(centre_x - half, 0.0),
                max(centre_y - half, 0.0),
                min(centre_x + half, picture.width),
                min(centre_y + half, picture.height),
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.resize((side, side), Image.Resampling.BICUBIC, box=square).save(path, quality=92)
            written += 1
    return written
