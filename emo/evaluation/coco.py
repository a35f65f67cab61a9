"""COCO's average precision of a detector."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from emo.data.boxes import BoxedImages
from emo.evaluation.answers import Answer
from emo.evaluation.images import PictureFile, key_of


@dataclass(frozen=True, slots=True)
class Boxed:
    """Pictures with boxes around their objects."""

    data: BoxedImages
    pictures: tuple[PictureFile, ...]

    @classmethod
    def of(cls, data: BoxedImages) -> "Boxed":
        """A split as read from disk; raise ValueError if it has no objects."""
        data.check_objects()
        return cls(data, tuple(PictureFile(key_of(image.path, data.root), image.path) for image in data.images))

    @property
    def names(self) -> tuple[str, ...]:
        """Class names."""
        return self.data.names

    def figures(self, answers: Sequence[Answer], names: tuple[str, ...]) -> dict[str, float]:
        """The figures of ``coco_figures``."""
        del names
        return coco_figures(self.data, answers)


def coco_figures(data: BoxedImages, answers: Sequence[Answer]) -> dict[str, float]:
    """COCO's ``ap50`` and ``ap`` (mean over IoU 0.5 to 0.95) in [0, 1], and ``ap50 <category>`` if it has objects.

    ``answers`` are those for each picture of ``data``, in its order. 0 if nothing was found.
    """
    results = [
        {"image_id": image.image_id, "category_id": label + 1, "bbox": _xywh(box), "score": score}
        for image, answer in zip(data.images, answers, strict=True)
        for box, label, score in zip(answer.boxes_xyxy or [], answer.labels, answer.scores or [], strict=True)
    ]
    if not results:
        return {"ap50": 0.0, "ap": 0.0}
    with contextlib.redirect_stdout(io.StringIO()):
        ground_truth = COCO()
        ground_truth.dataset = document(data)
        ground_truth.createIndex()
        evaluation = COCOeval(ground_truth, ground_truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    figures = {"ap50": float(evaluation.stats[1]), "ap": float(evaluation.stats[0])}
    precision = evaluation.eval["precision"][0, :, :, 0, 2]  # IoU 0.5, (recall, category), all areas, 100 detections
    for column, category in enumerate(evaluation.params.catIds):
        if precision[:, column].min() >= 0:  # -1 if the split has no object of the category
            figures[f"ap50 {ground_truth.cats[category]['name']}"] = float(precision[:, column].mean())
    return figures


def document(data: BoxedImages) -> dict[str, Any]:
    """The split as COCO's JSON, all ids from 1: pycocotools treats an annotation with id 0 as missing."""
    objects = [
        {"image_id": image.image_id, "category_id": label + 1, "bbox": _xywh(box), "area": area, "iscrowd": int(crowd)}
        for image in data.images
        for box, label, area, crowd in zip(
            image.boxes_xyxy.tolist(), image.labels.tolist(), image.areas.tolist(), image.crowds.tolist(), strict=True
        )
    ]
    return {
        "info": {},
        "images": [{"id": image.image_id} for image in data.images],
        "annotations": [{"id": number, **found} for number, found in enumerate(objects, 1)],
        "categories": [{"id": label, "name": name} for label, name in enumerate(data.names, 1)],
    }


def _xywh(box: Sequence[float]) -> list[float]:
    x1, y1, x2, y2 = box
    return [x1, y1, x2 - x1, y2 - y1]
