"""Labelled photos as COCO JSON."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emo.labelling.labels import Label
from emo.labelling.photos import Photo
from emo_serve.atomic import atomic_write

_MARK = '{"info": {"description": "emo label"'
"""Beginning of every file that the command has written, and may overwrite."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A photo with its labels."""

    photo: Photo
    labels: tuple[Label, ...]


def check_target(path: Path) -> None:
    """Raise ValueError if there is a file that ``write_document`` has not written."""
    if path.exists():
        with path.open(encoding="utf-8", errors="replace") as file:
            if file.read(len(_MARK)) != _MARK:
                msg = f"{path} exists, and emo label has not written it; choose another file or remove it"
                raise ValueError(msg)


def write_document(labelled: Sequence[Labelled], names: Sequence[str], path: Path) -> None:
    """Write the file atomically; file names are relative to the folder of ``path``, regions to ignore are crowds.

    In addition to COCO's members, each annotation has the ``score`` (1 for a true one) and the ``source``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.parent.resolve()
    category = {name: number for number, name in enumerate(names, 1)}
    content = {
        "info": {"description": "emo label"},
        "images": [
            {
                "id": number,
                "file_name": Path(os.path.relpath(one.photo.path.resolve(), folder)).as_posix(),
                "width": one.photo.size[0],
                "height": one.photo.size[1],
            }
            for number, one in enumerate(labelled, 1)
        ],
        "annotations": [
            {"id": number, **annotation} for number, annotation in enumerate(_annotations(labelled, category), 1)
        ],
        "categories": [{"id": number, "name": name} for name, number in category.items()],
    }
    atomic_write(path, json.dumps(content, ensure_ascii=False) + "\n")


def _annotations(labelled: Sequence[Labelled], category: dict[str, int]) -> Iterable[dict[str, Any]]:
    for number, one in enumerate(labelled, 1):
        for label in one.labels:
            x1, y1, x2, y2 = label.box_xyxy
            area = (x2 - x1) * (y2 - y1) if label.area is None else label.area
            yield {
                "image_id": number,
                "category_id": category[label.name],
                "bbox": [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)],
                "area": round(area, 2),
                "iscrowd": int(label.is_ignored),
                "score": round(label.score, 4),
                "source": label.source,
            }
