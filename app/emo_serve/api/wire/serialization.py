"""Results -> JSON objects in the shapes of ``emo_serve.api.wire.schemas``."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emo_serve.api.wire.schemas import BoxFormat, BoxUnits
from emo_serve.manifest import Manifest
from emo_serve.vision.boxes import normalise, xyxy_to_cxcywh, xyxy_to_xywh
from emo_serve.vision.results import Classification, Detections, ImageSize, Prediction, Segmentation

_SCORE_DIGITS = 6
_BOX_DIGITS = {"pixel": 2, "normalized": 6}


def serialize_prediction(manifest: Manifest, labels: tuple[str, ...], prediction: Prediction) -> dict[str, Any]:
    """A ClassifyAnswer, a DetectAnswer with xyxy boxes in pixels, or a SegmentAnswer."""
    match prediction.result:
        case Classification() as found:
            return serialize_classification(manifest, labels, prediction.image, found)
        case Detections() as found:
            return serialize_detections(manifest, labels, prediction.image, found, "xyxy", "pixel")
        case Segmentation() as found:
            return serialize_segmentation(manifest, labels, found)
    raise TypeError(prediction.result)


def serialize_classification(
    manifest: Manifest, labels: tuple[str, ...], image: ImageSize, result: Classification
) -> dict[str, Any]:
    """A ClassifyAnswer."""
    classes: list[dict[str, Any]] = [
        {"class_id": class_id, "name": labels[class_id], "score": score}
        for class_id, score in zip(result.class_ids.tolist(), _scores(result.scores), strict=True)
    ]
    answer = {**_head(manifest, image), "classifications": classes}
    if manifest.groups is not None and result.groups is not None:
        for entry in classes:
            entry["group"] = manifest.groups[entry["class_id"]]
        answer["groups"] = [{"name": group.name, "score": round(group.score, _SCORE_DIGITS)} for group in result.groups]
    return answer


def serialize_detections(
    manifest: Manifest,
    labels: tuple[str, ...],
    image: ImageSize,
    result: Detections,
    box_format: BoxFormat,
    units: BoxUnits,
) -> dict[str, Any]:
    """A DetectAnswer."""
    boxes = convert_boxes(result.boxes_xyxy, image, box_format, units)
    rows = zip(result.class_ids.tolist(), _scores(result.scores), boxes, strict=True)
    return {
        **_head(manifest, image),
        "box_format": box_format,
        "units": units,
        "detections": [
            {"class_id": class_id, "name": labels[class_id], "score": score, "box": box}
            for class_id, score, box in rows
        ],
    }


def serialize_segmentation(manifest: Manifest, labels: tuple[str, ...], result: Segmentation) -> dict[str, Any]:
    """A SegmentAnswer."""
    image = result.image
    return {
        **_head(manifest, image),
        "classes": [
            {
                "class_id": region.class_id,
                "name": labels[region.class_id],
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
        {"image_id": image_id, "category_id": class_id, "bbox": box, "score": score}
        for class_id, score, box in zip(result.class_ids.tolist(), _scores(result.scores), boxes, strict=True)
    ]


def convert_boxes(
    boxes_xyxy: NDArray[np.float32], image: ImageSize, box_format: BoxFormat, units: BoxUnits
) -> list[list[float]]:
    """(K, 4) in pixels -> K boxes in the requested format and units, rounded to meaningful digits."""
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
