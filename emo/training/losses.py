"""The SSD loss (arXiv 1512.02325, section 2.2): matching, hard negative mining, box regression."""

import torch
from torch import Tensor
from torch.nn import functional

from emo.data.boxes import IGNORED
from emo.models.anchors import encode_boxes

NEGATIVES_PER_POSITIVE = 3
LEAST_OVERLAP = 0.2
COVERED = 0.5
"""An anchor lies in a region if more than this share of its area does."""


def pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union (A, B) of ``boxes_xyxy`` (A, 4) and (B, 4)."""
    inter = _intersection(first, second)
    return inter / (_area(first)[:, None] + _area(second)[None] - inter).clamp(min=1e-6)


def _intersection(first: Tensor, second: Tensor) -> Tensor:
    corner1 = torch.maximum(first[:, None, :2], second[None, :, :2])
    corner2 = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    return (corner2 - corner1).clamp(min=0).prod(-1)


def _area(boxes_xyxy: Tensor) -> Tensor:
    return (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(-1)


def match_anchors(anchors: Tensor, boxes_xyxy: Tensor, labels: Tensor, background: int) -> tuple[Tensor, Tensor]:
    """The label (A,) of each anchor, ``background`` if no box overlaps by half, and its matched box (A, 4).

    Every box also gets the anchor that overlaps it most, however little that is, and the next two if they overlap by a
    fifth: the smallest anchors are larger than many objects, which would otherwise be learned from a single anchor. A
    box with the label ``IGNORED`` makes no anchor positive; anchors that it would match, and those that lie in it, are
    ``IGNORED`` instead of background.
    """
    doubted = labels == IGNORED
    targets, matched = _match(anchors, boxes_xyxy[~doubted], labels[~doubted], background)
    if doubted.any():
        regions = boxes_xyxy[doubted]
        would, _ = _match(anchors, regions, labels[doubted], background)
        covered = (_intersection(anchors, regions) > COVERED * _area(anchors)[:, None]).any(1)
        targets[(targets == background) & (covered | (would == IGNORED))] = IGNORED
    return targets, matched


def _match(anchors: Tensor, boxes_xyxy: Tensor, labels: Tensor, background: int) -> tuple[Tensor, Tensor]:
    targets = torch.full((len(anchors),), background, dtype=torch.long)
    if not len(boxes_xyxy):
        return targets, torch.zeros_like(anchors)
    overlap = pairwise_iou(anchors, boxes_xyxy)
    best, owner = overlap.max(1)
    nearest, columns = overlap.topk(min(3, len(anchors)), 0)
    for rank in reversed(range(len(columns))):  # last, so that a box's best anchor is its own
        chosen = nearest[rank] > (LEAST_OVERLAP if rank else -1.0)
        best[columns[rank, chosen]] = 1.0
        owner[columns[rank, chosen]] = chosen.nonzero()[:, 0]
    positive = best >= 0.5
    targets[positive] = labels[owner[positive]]
    return targets, boxes_xyxy[owner]


def ssd_loss(anchors: Tensor, logits: Tensor, deltas: Tensor, targets: Tensor, boxes_xyxy: Tensor) -> Tensor:
    """Cross entropy over positives and the hardest negatives plus smooth L1 over positives, a scalar per positive.

    Anchors (A, 4), logits (N, A, C + 1), deltas (N, A, 4); targets (N, A) and boxes (N, A, 4) from ``match_anchors``.
    ``IGNORED`` anchors do not count.
    """
    background = logits.shape[-1] - 1
    ignored = targets == IGNORED
    positive = (targets != background) & ~ignored
    count = positive.sum().clamp(min=1)
    entropy = functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), reduction="none", ignore_index=IGNORED
    ).view_as(targets)
    hardness = entropy.detach().masked_fill(positive | ignored, -1.0)
    rank = hardness.argsort(1, descending=True).argsort(1)
    negative = rank < (NEGATIVES_PER_POSITIVE * positive.sum(1, keepdim=True)).clamp(min=NEGATIVES_PER_POSITIVE)
    classification = entropy[positive | negative].sum()  # 0 if ignored
    _, columns = positive.nonzero(as_tuple=True)
    wanted = encode_boxes(anchors[columns], boxes_xyxy[positive])
    regression = functional.smooth_l1_loss(deltas[positive], wanted, reduction="sum")
    return (classification + regression) / count
