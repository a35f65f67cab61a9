"""COCO's average precision of a detector."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from emo.data import BoxedImages, find_coco, read_coco
from emo.evaluation.answers import Answer
from emo.evaluation.pictures import PictureFile, key_of


@dataclass(frozen=True, slots=True)
class Boxed:
    """Pictures with boxes around their objects."""

    names: tuple[str, ...]
    pictures: tuple[PictureFile, ...]
    annotations: Path
    image_ids: tuple[int, ...]
    category_ids: tuple[int, ...]

    @classmethod
    def of(cls, data: BoxedImages, annotations: Path, images: Path | None = None) -> "Boxed":
        """What was read from ``annotations``, whose file names are relative to ``images`` where that is known."""
        return cls(
            data.names,
            tuple(PictureFile(key_of(image.path, images), image.path) for image in data.images),
            annotations,
            tuple(image.image_id for image in data.images),
            data.category_ids,
        )

    def figures(self, answers: Sequence[Answer], names: tuple[str, ...]) -> dict[str, float]:
        """What ``coco_figures`` gives."""
        del names
        found = [
            {
                "image_id": image_id,
                "category_id": self.category_ids[label],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": score,
            }
            for image_id, answer in zip(self.image_ids, answers, strict=True)
            for (x1, y1, x2, y2), label, score in zip(
                answer.boxes_xyxy or [], answer.labels, answer.scores or [], strict=True
            )
        ]
        return coco_figures(self.annotations, found)


def read_boxed(root: Path) -> Boxed:
    """The validation split at ``root``, in the layouts of ``find_coco``, which also says what is raised."""
    annotations, images = find_coco(root, "val")
    return Boxed.of(read_coco(annotations, images), annotations, images)


def coco_figures(annotations: Path, results: list[dict[str, Any]]) -> dict[str, float]:
    """COCO's ``ap50`` and ``ap`` (mean over IoU 0.5 to 0.95) in [0, 1], and ``ap50 <category>`` where it has objects.

    0 where nothing was found.
    """
    if not results:
        return {"ap50": 0.0, "ap": 0.0}
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    figures = {"ap50": float(evaluation.stats[1]), "ap": float(evaluation.stats[0])}
    precision = evaluation.eval["precision"][0, :, :, 0, 2]  # IoU 0.5, (recall, category), all areas, 100 detections
    for column, category in enumerate(evaluation.params.catIds):
        if precision[:, column].min() >= 0:  # it is -1 where the split has no object of the category
            figures[f"ap50 {truth.cats[category]['name']}"] = float(precision[:, column].mean())
    return figures
