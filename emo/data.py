"""Pictures and labels from disk: contact sheets with a CSV index, image folders, COCO JSON."""

import csv
import gzip
import hashlib
import io
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from app.errors import ServiceError
from app.vision.image import ImageLimits, decode

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
HELD_OUT = 5
"""One of so many pictures of a class is for validation, where a folder has no splits."""
_LIMITS = ImageLimits(max_bytes=2**30, max_pixels=2**29, max_scans=1000)  # our own files are trusted
_NAMED = 5  # of the files that cannot be read


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

    def pictures(self, description: str, faults: list[str] | None = None) -> Iterator[tuple[Image.Image, int]]:
        """RGB pictures and labels in file order; a contact sheet is decoded once. Shows a progress bar.

        A file that cannot be read is left out and described in ``faults``; without that, a ValueError is raised.
        """
        sheet_path, sheet = None, None
        for file in tqdm(self.files, description, unit="img", mininterval=2):
            try:
                if file.path != sheet_path or sheet is None:
                    sheet_path, sheet = file.path, open_upright(file.path)
            except (OSError, ValueError) as error:
                if faults is None:
                    raise
                faults.append(str(error))
                continue
            picture = sheet
            if file.rectangle is not None:
                x, y, width, height = file.rectangle
                picture = sheet.crop((x, y, x + width, y + height))
            yield picture, file.label


def find_classification(root: Path, split: str) -> LabelledFiles:
    """The split ``train`` or ``val`` of ``root``, which holds one of three layouts.

    Either ``index.csv`` or ``index.csv.gz`` (split, file, x, y, w, h, class_id) with ``classes.csv`` (class_id, name
    and, if wanted, sensitive: 1 leaves a class out), or one folder ``<split>/<class name>/`` of pictures a class, or,
    without splits, one folder ``<class name>/`` a class, of which the fifth whose names have the smallest SHA-256 is
    held out for validation. Raise FileNotFoundError when there is none of them.
    """
    for index in (root / "index.csv", root / "index.csv.gz"):
        if index.exists():
            return _from_index(root, index, split)
    has_splits = bool(_class_folders(root / "val"))
    folders = _class_folders(root / split) if has_splits else _class_folders(root / "train") or _class_folders(root)
    if not folders:
        msg = (
            f"{root} has neither index.csv nor folders <class name>/ of pictures, with or without train/ and val/ above"
        )
        raise FileNotFoundError(msg)
    whole = _from_folders(folders)
    if has_splits:
        return whole
    by_label = itertools.groupby(whole.files, lambda file: file.label)
    held = {file for _, files in by_label for file in _held_out(list(files))}
    return LabelledFiles(whole.names, tuple(file for file in whole.files if (file in held) == (split == "val")))


def _class_folders(root: Path) -> list[Path]:
    return sorted(folder for folder in root.glob("[!.]*") if folder.is_dir())


def _from_folders(folders: list[Path]) -> LabelledFiles:
    files = tuple(
        LabelledFile(path, None, label)
        for label, folder in enumerate(folders)
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in PICTURES and not path.name.startswith(".")
    )
    return LabelledFiles(tuple(folder.name for folder in folders), files)


def _held_out(files: list[LabelledFile]) -> list[LabelledFile]:
    """By the digest of the names: an order that nobody chose, and that more pictures of the class change but little."""
    files.sort(key=lambda file: hashlib.sha256(file.path.name.encode()).digest())
    return files[: max(1, len(files) // HELD_OUT)]


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


def load_squares(
    files: LabelledFiles, side: int, faults: list[str] | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All pictures of a split as squares (N, side, side, 3) and labels (N,): short side to ``side``, centre cut out.

    With ``faults`` (see ``LabelledFiles.pictures``) the result is of no use where there are some.
    """
    squares = np.empty((len(files.files), side, side, 3), np.uint8)
    labels = np.empty(len(files.files), np.int64)
    for row, (picture, label) in enumerate(files.pictures("load", faults)):
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
    size: tuple[int, int] | None = None  # (width, height) where the file states it


@dataclass(frozen=True, slots=True)
class BoxedImages:
    """A COCO data set; label i is called ``names[i]`` and has the category ``category_ids[i]`` in the file."""

    names: tuple[str, ...]
    category_ids: tuple[int, ...]
    images: tuple[BoxedImage, ...]


def read_coco(annotations: Path, images: Path) -> BoxedImages:
    """The boxes of a COCO JSON whose file names are relative to ``images``; crowds and empty boxes are left out.

    Raise ValueError, which names the file, when it is no COCO JSON of boxes.
    """
    try:
        return _from_coco(json.loads(annotations.read_text(encoding="utf-8")), images)
    except KeyError as error:
        msg = f"{annotations}: no COCO JSON of boxes: {error} is missing, or named and not described"
    except (ValueError, TypeError) as error:
        msg = f"{annotations}: no COCO JSON of boxes: {error}"
    raise ValueError(msg)


def _from_coco(content: dict[str, Any], images: Path) -> BoxedImages:
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
            (image["width"], image["height"]) if "width" in image and "height" in image else None,
        )
        for image in content["images"]
    )
    return BoxedImages(
        tuple(category["name"] for category in categories), tuple(category["id"] for category in categories), boxed
    )


def find_coco(root: Path, split: str) -> tuple[Path, Path]:
    """The COCO JSON of the split ``train`` or ``val`` of ``root``, and the folder its file names are relative to.

    Either ``instances_<split>.json`` and ``root`` itself, or COCO's own ``annotations/instances_<split>2017.json``
    (any year, or none) and ``<split>2017``. Raise FileNotFoundError when there is neither, ValueError for several.
    """
    plain = root / f"instances_{split}.json"
    if plain.exists():
        return plain, root
    found = sorted((root / "annotations").glob(f"instances_{split}*.json"))
    if not found:
        msg = f"{root} has neither {plain.name} nor annotations/instances_{split}<year>.json"
        raise FileNotFoundError(msg)
    if len(found) > 1:
        msg = f"{root} has several: {', '.join(path.name for path in found)}; leave one of them"
        raise ValueError(msg)
    return found[0], root / found[0].stem.removeprefix("instances_")


def open_upright(path: Path, least_side: int | None = None) -> Image.Image:
    """A picture file in RGB as the server decodes it: turned as EXIF says, transparency on white.

    With a ``least_side`` a JPEG may come at a fraction of its size, with that many pixels on both sides.
    Raise OSError or ValueError, which name the file, when it cannot be read.
    """
    try:
        return decode(path.read_bytes(), _LIMITS, least_side).upright()
    except ServiceError as error:
        msg = f"{path}: {error}"
        raise ValueError(msg) from error


def open_rgb(path: Path) -> NDArray[np.uint8]:
    """A picture file as (H, W, 3), see ``open_upright``."""
    return np.asarray(open_upright(path))


def check_readable(faults: list[str]) -> None:
    """Raise ValueError, which names the first of them, when there are ``faults``."""
    if faults:
        more = f"; and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        msg = f"{len(faults)} pictures cannot be used, mend or remove them: {'; '.join(faults[:_NAMED])}{more}"
        raise ValueError(msg)
