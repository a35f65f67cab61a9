"""The SSD loss (arXiv 1512.02325, section 2.2): matching, hard negative mining, box regression."""

import torch
from torch import Tensor
from torch.nn import functional

from emo.anchors import encode_boxes

NEGATIVES_PER_POSITIVE = 3
LEAST_OVERLAP = 0.2


def pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union (A, B) of ``boxes_xyxy`` (A, 4) and (B, 4)."""
    corner1 = torch.maximum(first[:, None, :2], second[None, :, :2])
    corner2 = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    inter = (corner2 - corner1).clamp(min=0).prod(-1)
    area1 = (first[:, 2:] - first[:, :2]).prod(-1)
    area2 = (second[:, 2:] - second[:, :2]).prod(-1)
    return inter / (area1[:, None] + area2[None] - inter).clamp(min=1e-6)


def match_anchors(anchors: Tensor, boxes_xyxy: Tensor, labels: Tensor, background: int) -> tuple[Tensor, Tensor]:
    """The label (A,) of each anchor, ``background`` where no box overlaps by half, and the box (A, 4) it stands for.

    Every box also gets the anchor that overlaps it most, however little that is, and the next two if they overlap by a
    fifth: the smallest anchors are larger than many objects, which would else be learned from a single anchor.
    """
    targets = torch.full((len(anchors),), background, dtype=torch.long)
    if not len(boxes_xyxy):
        return targets, torch.zeros_like(anchors)
    overlap = pairwise_iou(anchors, boxes_xyxy)
    best, owner = overlap.max(1)
    nearest, columns = overlap.topk(min(3, len(anchors)), 0)
    for rank in reversed(range(len(columns))):  # a box's best anchor is its own, whoever else wants it
        chosen = nearest[rank] > (LEAST_OVERLAP if rank else -1.0)
        best[columns[rank, chosen]] = 1.0
        owner[columns[rank, chosen]] = chosen.nonzero()[:, 0]
    positive = best >= 0.5
    targets[positive] = labels[owner[positive]]
    return targets, boxes_xyxy[owner]


def ssd_loss(anchors: Tensor, logits: Tensor, deltas: Tensor, targets: Tensor, boxes_xyxy: Tensor) -> Tensor:
    """Cross entropy over positives and the hardest negatives plus smooth L1 over positives, a scalar per positive.

    Anchors (A, 4), logits (N, A, C + 1), deltas (N, A, 4); targets (N, A) and boxes (N, A, 4) from ``match_anchors``.
    """
    background = logits.shape[-1] - 1
    positive = targets != background
    count = positive.sum().clamp(min=1)
    entropy = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
    hardness = entropy.detach().masked_fill(positive, -1.0)
    rank = hardness.argsort(1, descending=True).argsort(1)
    negative = rank < (NEGATIVES_PER_POSITIVE * positive.sum(1, keepdim=True)).clamp(min=NEGATIVES_PER_POSITIVE)
    classification = entropy[positive | (negative & ~positive)].sum()
    _, columns = positive.nonzero(as_tuple=True)
    wanted = encode_boxes(anchors[columns], boxes_xyxy[positive])
    regression = functional.smooth_l1_loss(deltas[positive], wanted, reduction="sum")
    return (classification + regression) / count
