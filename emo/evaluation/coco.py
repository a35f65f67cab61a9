"""COCO's average precision of a detector."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from emo.data.boxes import BoxedImages
from emo.evaluation.answers import Answer
from emo.evaluation.images import PictureFile, key_of

_THRESHOLDS = tuple(step / 100 for step in range(5, 96))


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

    ``f1`` is the largest harmonic mean of precision and recall at IoU 0.5, over the objects of all categories, and
    ``f1_threshold`` the score threshold that it is reached with. ``answers`` are those for each picture of ``data``, in
    its order. Without any detection ``ap50`` and ``ap`` are 0, and nothing else is known.
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
    figures = {"ap50": float(evaluation.stats[1]), "ap": float(evaluation.stats[0]), **_best_f1(evaluation)}
    precision = evaluation.eval["precision"][0, :, :, 0, 2]  # IoU 0.5, (recall, category), all areas, 100 detections
    for column, category in enumerate(evaluation.params.catIds):
        if precision[:, column].min() >= 0:  # -1 if the split has no object of the category
            figures[f"ap50 {ground_truth.cats[category]['name']}"] = float(precision[:, column].mean())
    return figures


def _best_f1(evaluation: COCOeval) -> dict[str, float]:
    """``f1`` and ``f1_threshold`` of the matches at IoU 0.5, of any area."""
    area, scores, right, objects = evaluation.params.areaRng[0], [np.zeros(0)], [np.zeros(0, bool)], 0
    for one in evaluation.evalImgs:
        if one is not None and one["aRng"] == area:
            counts = ~one["dtIgnore"][0].astype(bool)
            scores.append(np.asarray(one["dtScores"])[counts])
            right.append(one["dtMatches"][0][counts] > 0)
            objects += int((~one["gtIgnore"].astype(bool)).sum())
    every, matched = np.concatenate(scores), np.concatenate(right)
    found = {
        threshold: 2 * int(matched[every >= threshold].sum()) / max(1, objects + int((every >= threshold).sum()))
        for threshold in _THRESHOLDS
    }
    best = max(found, key=found.__getitem__)
    return {"f1": found[best], "f1_threshold": best}


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
