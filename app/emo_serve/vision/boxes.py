"""Arithmetic of boxes: (..., 4) arrays whose format is in the name; x grows to the right, y downwards."""

import numpy as np
from numpy.typing import NDArray

from emo_serve.vision.results import Geometry, ImageSize

Boxes = NDArray[np.float32]
_HALF = np.float32(0.5)


def xyxy_to_xywh(boxes_xyxy: Boxes) -> Boxes:
    """Two corners -> left, top, width, height."""
    low, high = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    return np.concatenate([low, high - low], axis=-1)


def xyxy_to_cxcywh(boxes_xyxy: Boxes) -> Boxes:
    """Two corners -> centre, width, height."""
    low, high = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    return np.concatenate([(low + high) * _HALF, high - low], axis=-1)


def normalise(boxes: Boxes, image: ImageSize) -> Boxes:
    """Pixels -> fractions of the image's width and height, in whichever of the three formats the boxes are."""
    fractions: NDArray[np.float64] = boxes.astype(np.float64) / np.array([image.width, image.height] * 2)
    return fractions.astype(np.float32)


def input_to_image(boxes_xyxy: Boxes, geometry: Geometry) -> Boxes:
    """Pixels of the network input -> pixels of the image, clipped to it."""
    offset = np.array([geometry.offset_x, geometry.offset_y] * 2)
    scale = np.array([geometry.scale_x, geometry.scale_y] * 2)
    limit = np.array([geometry.image.width, geometry.image.height] * 2)
    in_image: NDArray[np.float64] = (boxes_xyxy.astype(np.float64) - offset) / scale
    return np.clip(in_image, 0, limit).astype(np.float32)


def areas(boxes_xyxy: Boxes) -> NDArray[np.float32]:
    """Areas of (..., 4) boxes; 0 where a box is turned inside out."""
    sides: Boxes = np.maximum(boxes_xyxy[..., 2:] - boxes_xyxy[..., :2], 0)
    return sides[..., 0] * sides[..., 1]


def pairwise_iou(one: Boxes, other: Boxes) -> NDArray[np.float32]:
    """(N, M) intersections over unions of (N, 4) and (M, 4) boxes, both xyxy; 0 where neither has an area."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    common = areas(np.concatenate([low, high], axis=-1))
    union = areas(one)[:, None] + areas(other)[None] - common
    overlaps: NDArray[np.float32] = common / np.maximum(union, np.finfo(np.float32).tiny)
    return overlaps


def non_maximum_suppression(
    boxes_xyxy: Boxes, class_ids: NDArray[np.int64], iou_threshold: float, max_kept: int
) -> NDArray[np.int64]:
    """Indices of the boxes that are kept, in order, at most ``max_kept``; (K, 4) boxes, best first, (K,) class ids.

    Greedy: each kept box suppresses later ones of its class whose IoU with it is above the threshold.
    """
    x0, y0, x1, y1 = np.ascontiguousarray(boxes_xyxy.T)
    area = areas(boxes_xyxy)
    alive = np.ones(len(boxes_xyxy), dtype=np.bool_)
    kept: list[int] = []
    for index in range(len(boxes_xyxy)):
        if not alive[index]:
            continue
        kept.append(index)
        if len(kept) == max_kept:
            break
        later = slice(index + 1, None)
        width = np.minimum(x1[later], x1[index]) - np.maximum(x0[later], x0[index])
        height = np.minimum(y1[later], y1[index]) - np.maximum(y0[later], y0[index])
        common = np.maximum(width, 0) * np.maximum(height, 0)
        overlaps = common > iou_threshold * (area[later] + area[index] - common)
        alive[later] &= ~(overlaps & (class_ids[later] == class_ids[index]))
    return np.array(kept, dtype=np.int64)
