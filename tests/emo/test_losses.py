import torch

from emo.data.boxes import IGNORED
from emo.models.anchors import encode_boxes, grid_anchors
from emo.training.losses import match_anchors, pairwise_iou, ssd_loss

ANCHORS = grid_anchors([(20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)])


def test_iou_of_equal_half_and_disjoint_boxes() -> None:
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 5.0], [20.0, 20.0, 30.0, 30.0]])
    torch.testing.assert_close(pairwise_iou(boxes[:1], boxes), torch.tensor([[1.0, 0.5, 0.0]]))


def test_even_a_tiny_box_gets_an_anchor() -> None:
    targets, boxes = match_anchors(ANCHORS, torch.tensor([[100.0, 100.0, 104.0, 103.0]]), torch.tensor([2]), 5)
    assert (targets == 2).sum() == 1  # the next ones overlap it by less than a fifth
    assert torch.equal(boxes[targets == 2][0], torch.tensor([100.0, 100.0, 104.0, 103.0]))


def test_a_small_box_gets_the_three_anchors_nearest_to_it() -> None:
    targets, _ = match_anchors(ANCHORS, torch.tensor([[100.0, 100.0, 130.0, 130.0]]), torch.tensor([2]), 5)
    assert (targets == 2).sum() == 3


def test_two_boxes_keep_an_anchor_each() -> None:
    boxes = torch.tensor([[40.0, 40.0, 140.0, 140.0], [200.0, 30.0, 300.0, 200.0]])
    targets, _ = match_anchors(ANCHORS, boxes, torch.tensor([0, 1]), 5)
    assert {0, 1} <= set(targets.tolist())


def test_a_picture_without_objects_is_all_background() -> None:
    targets, _ = match_anchors(ANCHORS, torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), 5)
    assert (targets == 5).all()
    loss = ssd_loss(
        ANCHORS,
        torch.zeros(1, len(ANCHORS), 6),
        torch.zeros(1, len(ANCHORS), 4),
        targets[None],
        torch.zeros(1, len(ANCHORS), 4),
    )
    assert torch.isfinite(loss)


def test_the_loss_of_the_right_answer_is_about_zero_and_falls_along_its_gradient() -> None:
    found = torch.tensor([[40.0, 40.0, 140.0, 140.0]])
    targets, boxes = match_anchors(ANCHORS, found, torch.tensor([1]), 5)
    right = torch.nn.functional.one_hot(targets, 6).float()[None] * 30
    deltas = encode_boxes(ANCHORS, boxes)[None]
    assert ssd_loss(ANCHORS, right, deltas, targets[None], boxes[None]) < 1e-3
    logits = torch.zeros(1, len(ANCHORS), 6, requires_grad=True)
    loss = ssd_loss(ANCHORS, logits, torch.zeros_like(deltas), targets[None], boxes[None])
    loss.backward()
    assert logits.grad is not None
    with torch.no_grad():
        stepped = logits - 0.1 * logits.grad
        assert ssd_loss(ANCHORS, stepped, torch.zeros_like(deltas), targets[None], boxes[None]) < loss


def test_only_the_hardest_negatives_count_three_for_each_positive() -> None:
    targets = torch.full((1, len(ANCHORS)), 5)
    targets[0, 0] = 1
    logits = torch.zeros(1, len(ANCHORS), 6, requires_grad=True)
    ssd_loss(ANCHORS, logits, torch.zeros(1, len(ANCHORS), 4), targets, ANCHORS[None]).backward()
    assert logits.grad is not None
    assert (logits.grad.abs().sum(-1) > 0).sum() == 4


def test_anchors_in_an_ignored_region_are_neither_objects_nor_background() -> None:
    boxes = torch.tensor([[0.0, 0.0, 160.0, 160.0], [200.0, 200.0, 260.0, 260.0]])
    targets, _ = match_anchors(ANCHORS, boxes, torch.tensor([IGNORED, 1]), 5)
    centres = (ANCHORS[:, :2] + ANCHORS[:, 2:]) / 2
    inside = (ANCHORS >= 0).all(1) & (ANCHORS <= 160).all(1)
    assert inside.sum() > 100
    assert (targets[inside] == IGNORED).all()
    assert (targets[(centres > 200).any(1) & ((ANCHORS[:, 2:] - ANCHORS[:, :2]) < 100).all(1)] != IGNORED).all()
    assert (targets == 1).any()

    logits = torch.zeros(1, len(ANCHORS), 6)
    logits[0, inside, 0] = 20  # as if there were objects: the hardest negatives of all, if they were negatives
    logits.requires_grad_()
    ssd_loss(ANCHORS, logits, torch.zeros(1, len(ANCHORS), 4), targets[None], ANCHORS[None]).backward()
    assert logits.grad is not None
    assert (logits.grad[0, targets == IGNORED] == 0).all()
    assert (logits.grad[0, targets != IGNORED].abs().sum(-1) > 0).sum() == 4 * (targets == 1).sum()


def test_a_region_smaller_than_all_anchors_frees_those_that_an_object_there_would_get() -> None:
    box = torch.tensor([[100.0, 100.0, 130.0, 130.0]])
    as_object, _ = match_anchors(ANCHORS, box, torch.tensor([2]), 5)
    as_region, _ = match_anchors(ANCHORS, box, torch.tensor([IGNORED]), 5)
    assert torch.equal(as_region == IGNORED, as_object == 2)


def test_an_object_in_an_ignored_region_is_learned() -> None:
    boxes = torch.tensor([[0.0, 0.0, 320.0, 320.0], [40.0, 40.0, 140.0, 140.0]])
    targets, matched = match_anchors(ANCHORS, boxes, torch.tensor([IGNORED, 3]), 5)
    alone, _ = match_anchors(ANCHORS, boxes[1:], torch.tensor([3]), 5)
    assert torch.equal(targets == 3, alone == 3)
    assert (matched[targets == 3] == boxes[1]).all()


def test_a_picture_that_is_ignored_as_a_whole_costs_nothing() -> None:
    targets = torch.full((1, len(ANCHORS)), IGNORED)
    logits = torch.randn(1, len(ANCHORS), 6)
    assert ssd_loss(ANCHORS, logits, torch.zeros(1, len(ANCHORS), 4), targets, ANCHORS[None]) == 0
