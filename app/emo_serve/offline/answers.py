"""Answers of a server -> results, to draw them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from emo_serve.errors import InvalidRequest
from emo_serve.vision.results import Classification, Detections, ImageSize, Region, Result, Segmentation
from emo_serve.vision.rle import class_map_of

_MOST_CLASSES = 1 << 16


def read_answer(answer: Mapping[str, Any]) -> tuple[Result, tuple[str, ...]]:
    """The result in a ClassifyAnswer, a DetectAnswer (xyxy in pixels) or a SegmentAnswer, and names of its classes.

    The names go up to the highest class id that occurs; those of other classes are empty. Raises InvalidRequest for
    what is no such answer.
    """
    try:
        if "detections" in answer:
            return _detections(answer["detections"]), _names(answer["detections"])
        if "classes" in answer:
            return _segmentation(answer["image"], answer["classes"]), _names(answer["classes"])
        return _classification(answer["classifications"]), _names(answer["classifications"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        msg = f"the answer cannot be drawn: {type(error).__name__} {error}"
        raise InvalidRequest(msg) from error


def _classification(entries: Sequence[Mapping[str, Any]]) -> Classification:
    class_ids, scores = [entry["class_id"] for entry in entries], [entry["score"] for entry in entries]
    return Classification(np.array(class_ids, np.int64), np.array(scores, np.float32))


def _detections(entries: Sequence[Mapping[str, Any]]) -> Detections:
    boxes = np.array([entry["box"] for entry in entries], np.float32).reshape(-1, 4)
    found = _classification(entries)
    return Detections(boxes, found.class_ids, found.scores)


def _segmentation(size: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> Segmentation:
    image = ImageSize(int(size["width"]), int(size["height"]))
    regions = tuple(Region(entry["class_id"], entry["pixels"], entry["rle"]["counts"]) for entry in entries)
    return Segmentation(image, class_map_of(regions, image), regions)


def _names(entries: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    names = {int(entry["class_id"]): str(entry["name"]) for entry in entries}
    if not all(0 <= class_id < _MOST_CLASSES for class_id in names):
        msg = f"class ids are 0 to {_MOST_CLASSES - 1}"
        raise ValueError(msg)
    return tuple(names.get(class_id, "") for class_id in range(max(names, default=-1) + 1))
