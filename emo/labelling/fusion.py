"""Detections of one class in one picture by several detectors -> one box for each object.

Weighted boxes fusion (arXiv 1910.13302, section 3): the mean of the boxes, weighted by their scores, instead of the
best of them. One thing differs: an object has at most one box of each model, so that two people side by side whom both
models detect stay two. The package ensemble-boxes is not used: it is of 2022, depends on a compiler (numba, llvmlite
and pandas, 290 MB) and does not tell which models detected what.
"""

from collections.abc import Iterable
from dataclasses import dataclass

OVERLAP = 0.55
"""IoU above which boxes belong to the same object (the paper's value)."""

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels."""


@dataclass(frozen=True, slots=True)
class Detection:
    """A box of model number ``model``, with its score in [0, 1]."""

    model: int
    box_xyxy: Box
    score: float


@dataclass(frozen=True, slots=True)
class Fused:
    """An object that one or several ``models`` detect."""

    box_xyxy: Box
    score: float
    models: tuple[int, ...]


def fuse(detections: Iterable[Detection], num_models: int) -> list[Fused]:
    """One box for each object, best first.

    The score is the sum of those of the models that detect it, divided by ``num_models``, the number of those that know
    the class. An object that only one of two models detects has half of its score.
    """
    clusters: list[list[Detection]] = []
    means: list[Box] = []
    for one in sorted(detections, key=lambda one: (-one.score, one.model, one.box_xyxy)):
        overlaps = [
            0.0 if one.model in {other.model for other in cluster} else iou(mean, one.box_xyxy)
            for cluster, mean in zip(clusters, means, strict=True)
        ]
        best = max(overlaps, default=0.0)
        if best > OVERLAP:
            place = overlaps.index(best)
            clusters[place].append(one)
            means[place] = _mean(clusters[place])
        else:
            clusters.append([one])
            means.append(one.box_xyxy)
    fused = [
        Fused(mean, sum(one.score for one in cluster) / num_models, tuple(sorted(one.model for one in cluster)))
        for cluster, mean in zip(clusters, means, strict=True)
    ]
    return sorted(fused, key=lambda one: -one.score)


def iou(first: Box, second: Box) -> float:
    """Intersection over union; 0 for boxes without area."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (_area(first) + _area(second) - width * height)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _mean(cluster: list[Detection]) -> Box:
    weight = sum(one.score for one in cluster)
    x1, y1, x2, y2 = (sum(one.score * one.box_xyxy[corner] for one in cluster) / weight for corner in range(4))
    return x1, y1, x2, y2
