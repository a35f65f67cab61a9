"""How far two models say the same about one image; classes are compared by name, as numbers may differ."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emo_serve.vision.boxes import pairwise_iou
from emo_serve.vision.results import Classification, Detections, Result, Segmentation

_SAME_OBJECT = 0.5  # least IoU of two boxes that are of one object


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two results about one image have in common."""

    agreement: float
    """Classes: 1 if the best is the same, else 0. Objects: the share of the boxes of both that have a partner of the
    same class at an IoU of 0.5 or more. Maps: the share of the pixels with the same class. 1 where both found nothing.
    """
    scores: tuple[tuple[float, float], ...]
    """Of the best class, whichever it is, or of each pair of boxes: first and second; of a map none."""


def compare(first: Result, first_labels: Sequence[str], second: Result, second_labels: Sequence[str]) -> Comparison:
    """Compare two results of one task; raises TypeError for others, and for outputs of graphs."""
    numbers = {name: number for number, name in enumerate(first_labels)}
    as_first = np.asarray([numbers.get(name, -1) for name in second_labels], np.int64)
    match first, second:
        case Classification(), Classification():
            same = np.array_equal(first.class_ids[:1], as_first[second.class_ids[:1]])
            scores = zip(first.scores[:1].tolist(), second.scores[:1].tolist(), strict=False)
            return Comparison(float(same), tuple(scores))
        case Detections(), Detections():
            return _compare_objects(first, second, as_first[second.class_ids])
        case Segmentation(), Segmentation():
            return _compare_maps(first, second, as_first)
    msg = f"a {type(first).__name__} and a {type(second).__name__} cannot be compared"
    raise TypeError(msg)


def _compare_objects(first: Detections, second: Detections, second_ids: NDArray[np.int64]) -> Comparison:
    """Each box of the first, in their order, takes the box of its class that overlaps it most and is not taken."""
    count = len(first.class_ids) + len(second_ids)
    overlaps = pairwise_iou(first.boxes_xyxy, second.boxes_xyxy)
    overlaps[first.class_ids[:, None] != second_ids] = 0.0
    scores = []
    for row in range(len(first.class_ids) if len(second_ids) else 0):
        column = int(overlaps[row].argmax())
        if overlaps[row, column] >= _SAME_OBJECT:
            scores.append((float(first.scores[row]), float(second.scores[column])))
            overlaps[:, column] = 0.0
    return Comparison(2 * len(scores) / count if count else 1.0, tuple(scores))


def _compare_maps(first: Segmentation, second: Segmentation, as_first: NDArray[np.int64]) -> Comparison:
    """Maps of other sizes are read at the same places."""
    (height, width), (other_height, other_width) = first.class_map.shape, second.class_map.shape
    rows, columns = np.arange(height) * other_height // height, np.arange(width) * other_width // width
    same = first.class_map == as_first[second.class_map[rows[:, None], columns]]
    return Comparison(float(same.mean()), ())
