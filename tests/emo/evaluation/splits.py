"""Small validation splits for the toy models, some pictures of which they get wrong."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from emo_serve.manifest import Task
from tests.support import COLOURS, RGB, quadrants


def write_split(task: Task, root: Path) -> Path:
    match task:
        case "classify":
            write_labelled(root)
        case "detect":
            write_boxed(root)
        case "segment":
            write_mapped(root)
    return root


def write_labelled(root: Path, names: tuple[str, ...] = COLOURS, suffix: str = ".png", per_class: int = 3) -> None:
    """Each class's last picture has the next one's colour; ``names`` are those of the folders."""
    for label, name in enumerate(names):
        folder = root / "val" / name
        folder.mkdir(parents=True)
        for k in range(per_class):
            colour = RGB[COLOURS[label if k < per_class - 1 else (label + 1) % 3]]
            noise = np.random.default_rng(k).integers(0, 40, (40 + k, 50, 3))
            pixels = (np.array(colour) * 0.8 + noise).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{k}{suffix}")


def write_boxed(root: Path, annotations: str = "instances_val.json", images: str = "") -> None:
    """Five pictures of coloured quadrants; the boxes are a little off, and two objects cannot be found."""
    rng = np.random.default_rng(0)
    shown, boxes = [], []
    (root / images / "val").mkdir(parents=True)
    for k in range(5):
        colours = [str(rng.choice([*COLOURS, "black"])) for _ in range(4)]
        file_name = f"val/{k}.png"
        pixels = quadrants(colours[0], colours[1], colours[2], colours[3], side=64)
        Image.fromarray(pixels).resize((96, 64)).save(root / images / file_name)
        shown.append({"id": 10 + k, "file_name": file_name, "width": 96, "height": 64})
        for place, colour in enumerate(colours):
            if colour in COLOURS:
                x, y = place % 2 * 48 + k, place // 2 * 32
                category = {"red": 3, "green": 7, "blue": 9}[colour]
                boxes.append((10 + k, category, [x, y, 48, 32]))
    boxes += [(10, 3, [30, 20, 20, 20]), (11, 9, [30, 20, 20, 20])]
    content = {
        "info": {},
        "images": shown,
        "annotations": [
            {
                "id": n + 1,
                "image_id": image,
                "category_id": category,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
            for n, (image, category, box) in enumerate(boxes)
        ],
        "categories": [{"id": 9, "name": "blue"}, {"id": 3, "name": "red"}, {"id": 7, "name": "green"}],
    }
    path = root / annotations
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_mapped(root: Path, count: int = 5) -> None:
    """ADE20K's layout: coloured quadrants, whose maps are off by a few pixels and have an unlabelled edge."""
    for folder in ("images", "annotations"):
        (root / folder / "validation").mkdir(parents=True)
    rng = np.random.default_rng(1)
    for k in range(count):
        classes = rng.integers(0, 3, 4)
        colours = [COLOURS[label] for label in classes]
        pixels = quadrants(colours[0], colours[1], colours[2], colours[3], side=64)
        Image.fromarray(pixels).save(root / "images" / "validation" / f"{k}.jpg", quality=95)
        truth = np.kron(classes.reshape(2, 2) + 1, np.ones((32, 32), np.uint8)).astype(np.uint8)
        truth = np.roll(truth, 3 + k, axis=1)
        truth[:5] = 0
        Image.fromarray(truth).save(root / "annotations" / "validation" / f"{k}.png")
