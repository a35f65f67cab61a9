"""Predictions -> what is written on the wire; the shapes are those of ``emo_serve.api.wire.schemas``."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo_serve.api.wire.schemas import BoxFormat, BoxUnits
from emo_serve.manifest import Manifest
from emo_serve.vision.boxes import normalise, xyxy_to_cxcywh, xyxy_to_xywh
from emo_serve.vision.results import Classification, Detections, ImageSize, Segmentation

_SCORE_DIGITS = 6
_BOX_DIGITS = {"pixel": 2, "normalized": 6}


def classify_answer(
    manifest: Manifest, labels: tuple[str, ...], image: ImageSize, result: Classification
) -> dict[str, Any]:
    """One ClassifyAnswer."""
    classes: list[dict[str, Any]] = [
        {"label": label, "name": labels[label], "score": score}
        for label, score in zip(result.labels.tolist(), _scores(result.scores), strict=True)
    ]
    answer = {**_head(manifest, image), "classifications": classes}
    if manifest.groups is not None and result.groups is not None:
        for entry in classes:
            entry["group"] = manifest.groups[entry["label"]]
        answer["groups"] = [{"name": group.name, "score": round(group.score, _SCORE_DIGITS)} for group in result.groups]
    return answer


def detect_answer(
    manifest: Manifest,
    labels: tuple[str, ...],
    image: ImageSize,
    result: Detections,
    box_format: BoxFormat,
    units: BoxUnits,
) -> dict[str, Any]:
    """One DetectAnswer."""
    boxes = convert_boxes(result.boxes_xyxy, image, box_format, units)
    rows = zip(result.labels.tolist(), _scores(result.scores), boxes, strict=True)
    return {
        **_head(manifest, image),
        "box_format": box_format,
        "units": units,
        "detections": [
            {"label": label, "name": labels[label], "score": score, "box": box} for label, score, box in rows
        ],
    }


def segment_answer(manifest: Manifest, labels: tuple[str, ...], result: Segmentation) -> dict[str, Any]:
    """One SegmentAnswer."""
    image = result.image
    return {
        **_head(manifest, image),
        "classes": [
            {
                "label": region.label,
                "name": labels[region.label],
                "pixels": region.pixels,
                "share": round(region.pixels / (image.width * image.height), _SCORE_DIGITS),
                "rle": {"size": [image.height, image.width], "counts": region.counts},
            }
            for region in result.regions
        ],
    }


def coco_results(image_id: int, image: ImageSize, result: Detections) -> list[dict[str, Any]]:
    """The CocoResults of one image."""
    boxes = convert_boxes(result.boxes_xyxy, image, "xywh", "pixel")
    return [
        {"image_id": image_id, "category_id": label, "bbox": box, "score": score}
        for label, score, box in zip(result.labels.tolist(), _scores(result.scores), boxes, strict=True)
    ]


def convert_boxes(
    boxes_xyxy: NDArray[np.float32], image: ImageSize, box_format: BoxFormat, units: BoxUnits
) -> list[list[float]]:
    """(K, 4) in pixels -> K boxes in the wanted format and units, rounded to what they can mean."""
    boxes = normalise(boxes_xyxy, image) if units == "normalized" else boxes_xyxy
    if box_format == "xywh":
        boxes = xyxy_to_xywh(boxes)
    elif box_format == "cxcywh":
        boxes = xyxy_to_cxcywh(boxes)
    rounded: list[list[float]] = boxes.astype(np.float64).round(_BOX_DIGITS[units]).tolist()
    return rounded


def _head(manifest: Manifest, image: ImageSize) -> dict[str, Any]:
    return {
        "model": {"name": manifest.name, "version": manifest.version},
        "image": {"width": image.width, "height": image.height},
    }


def _scores(scores: NDArray[np.float32]) -> list[float]:
    return [round(score, _SCORE_DIGITS) for score in scores.tolist()]
