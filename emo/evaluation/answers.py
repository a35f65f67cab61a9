"""A model's answer about one picture: the common form for storage and measurement.

Numbers are rounded as in the server's responses, so that all sources give the same.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from emo_serve.manifest import Task
from emo_serve.vision.results import Classification, Detections, Segmentation

_SCORE_DIGITS = 6
_BOX_DIGITS = 2


@dataclass(frozen=True, slots=True)
class Answer:
    """K classes, objects or areas; ``labels`` are the model's class numbers.

    A classifier gives scores, best first, and, if it has groups, the names of the best; a detector scores and boxes,
    best first; a segmenter the ``size`` (height, width) of the picture and the RLE of each area in COCO's format.
    """

    labels: list[int]
    scores: list[float] | None = None
    boxes_xyxy: list[list[float]] | None = None
    runs: list[str] | None = None
    size: list[int] | None = None
    groups: list[str] | None = None


def of_result(result: Classification | Detections | Segmentation) -> Answer:
    """The answer in a result of ``emo_serve.vision``."""
    if isinstance(result, Segmentation):
        return Answer(
            [region.class_id for region in result.regions],
            runs=[region.counts for region in result.regions],
            size=[result.image.height, result.image.width],
        )
    scores = result.scores.astype(np.float64).round(_SCORE_DIGITS).tolist()
    if isinstance(result, Classification):
        groups = None if result.groups is None else [group.name for group in result.groups]
        return Answer(result.class_ids.tolist(), scores, groups=groups)
    return Answer(result.class_ids.tolist(), scores, result.boxes_xyxy.astype(np.float64).round(_BOX_DIGITS).tolist())


def of_document(task: Task, document: dict[str, Any]) -> Answer:
    """The answer in the server's JSON."""
    if task == "segment":
        found = document["classes"]
        return Answer(
            [area["class_id"] for area in found],
            runs=[area["rle"]["counts"] for area in found],
            size=[document["image"]["height"], document["image"]["width"]],
        )
    found = document["classifications" if task == "classify" else "detections"]
    boxes = [entry["box"] for entry in found] if task == "detect" else None
    groups = [entry["name"] for entry in document["groups"]] if "groups" in document else None
    return Answer([entry["class_id"] for entry in found], [entry["score"] for entry in found], boxes, groups=groups)
