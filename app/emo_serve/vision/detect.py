"""Boxes and scores of all anchors -> detected objects."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from emo_serve.errors import InvalidParameter
from emo_serve.manifest import DetectionDefaults
from emo_serve.vision.boxes import Boxes, input_to_image, non_maximum_suppression
from emo_serve.vision.classify import best_indices
from emo_serve.vision.results import Detections, DetectParameters, Geometry

T = TypeVar("T")

MAX_CANDIDATES = 1000
"""Number of best scored boxes that enter non-maximum suppression."""
_LEAST_SCORE = float(np.finfo(np.float32).tiny)
"""A score of 0 means no object, even if the threshold is 0."""


def select_detections(
    boxes: Boxes,
    scores: NDArray[np.float32],
    geometry: Geometry,
    parameters: DetectParameters,
    defaults: DetectionDefaults,
    labels: tuple[str, ...],
) -> Detections:
    """The objects of one image, best first, boxes in its pixels.

    ``boxes`` (A, 4) are xyxy in input pixels, ``scores`` (A, C) in [0, 1], ``labels`` the C class names. An anchor may
    give an object of several classes; suppression works within a class, with ``class_agnostic`` across all. Boxes
    without area in the image are dropped.
    Raises InvalidParameter for a class that is not among the labels.
    """
    score_threshold = max(_given(parameters.score_threshold, defaults.score_threshold), _LEAST_SCORE)
    iou_threshold = _given(parameters.iou_threshold, defaults.iou_threshold)
    max_detections = _given(parameters.max_detections, defaults.max_detections)
    columns = _wanted_columns(parameters.classes, labels)

    wanted = scores if parameters.classes is None else scores[:, columns]
    # NumPy's search in two dimensions takes ten times as long
    anchors, places = np.divmod(np.flatnonzero(wanted >= score_threshold), len(columns))
    classes = columns[places]
    best = best_indices(scores[anchors, classes], MAX_CANDIDATES)
    anchors, classes = anchors[best], classes[best]

    boxes_xyxy = input_to_image(boxes[anchors], geometry)
    has_area = (boxes_xyxy[:, 2:] > boxes_xyxy[:, :2]).all(axis=1)  # False for NaN
    anchors, classes, boxes_xyxy = anchors[has_area], classes[has_area], boxes_xyxy[has_area]

    rivals = np.zeros_like(classes) if parameters.class_agnostic else classes
    kept = non_maximum_suppression(boxes_xyxy, rivals, iou_threshold, max_detections)
    return Detections(boxes_xyxy[kept], classes[kept], scores[anchors[kept], classes[kept]].astype(np.float32))


def _given(value: T | None, default: T) -> T:
    return default if value is None else value


def _wanted_columns(names: tuple[str, ...] | None, labels: tuple[str, ...]) -> NDArray[np.int64]:
    if names is None:
        return np.arange(len(labels))
    unknown = [name for name in names if name not in labels]
    if unknown:
        msg = f"The model knows no class {', '.join(map(repr, unknown))}; allowed are {', '.join(labels)}."
        raise InvalidParameter(msg)
    return np.array(sorted({labels.index(name) for name in names}), dtype=np.int64)
