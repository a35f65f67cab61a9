"""Tiny data sets made on the spot: coloured squares on grey."""

import csv
import gzip
import json
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"blue": (30, 40, 220), "green": (30, 200, 40), "red": (220, 40, 30)}


def picture(colour: tuple[int, int, int], side: int, seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).integers(-20, 20, (side, side, 3))
    return Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8))


def write_folders(root: Path, per_class: int = 4) -> Path:
    for split, count in (("train", per_class), ("val", 2)):
        for name, colour in COLOURS.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for k in range(count):
                picture(colour, 40, k).save(folder / f"{k}.png")
    return root


def write_sheets(root: Path) -> Path:
    """The data set as one contact sheet for each class, with one class that is marked sensitive."""
    rows = []
    for label, (name, colour) in enumerate({**COLOURS, "secret": (0, 0, 0)}.items()):
        for split in ("train", "val"):
            sheet = Image.new("RGB", (80, 40))
            for k in range(2):
                sheet.paste(picture(colour, 40, k), (40 * k, 0))
                rows.append([split, f"{split}/{name}.png", 40 * k, 0, 40, 40, label])
            (root / split).mkdir(parents=True, exist_ok=True)
            sheet.save(root / split / f"{name}.png")
    with gzip.open(root / "index.csv.gz", "wt", newline="") as file:
        csv.writer(file).writerows([["split", "file", "x", "y", "w", "h", "class_id"], *rows])
    with (root / "classes.csv").open("w", newline="") as file:
        names = [*COLOURS, "secret"]
        csv.writer(file).writerows(
            [
                ["class_id", "name", "sensitive"],
                *([label, name, int(name == "secret")] for label, name in enumerate(names)),
            ]
        )
    return root


def write_coco(root: Path, count: int = 4) -> Path:
    """Pictures 96 x 64 with one red (category 3) or blue (category 7) rectangle each."""
    for split in ("train", "val"):
        images, boxes = [], []
        (root / split).mkdir(parents=True)
        for k in range(count):
            file_name, category = f"{split}/{k}.png", (3, 7)[k % 2]
            canvas = Image.new("RGB", (96, 64), (120, 120, 120))
            canvas.paste(COLOURS["red" if category == 3 else "blue"], (10 + k, 8, 60 + k, 50))
            canvas.save(root / file_name)
            images.append({"id": k + 1, "file_name": file_name, "width": 96, "height": 64})
            boxes.append(
                {
                    "id": k + 1,
                    "image_id": k + 1,
                    "category_id": category,
                    "bbox": [10 + k, 8, 50, 42],
                    "area": 2100,
                    "iscrowd": 0,
                }
            )
        content = {
            "info": {},
            "images": images,
            "annotations": boxes,
            "categories": [{"id": 7, "name": "blue box"}, {"id": 3, "name": "red box"}],
        }
        (root / f"instances_{split}.json").write_text(json.dumps(content))
    return root


def write_plain(root: Path, per_class: int = 5) -> Path:
    """A folder for each class and no splits."""
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for k in range(per_class):
            picture(colour, 40, k).save(root / name / f"{k}.png")
    return root
