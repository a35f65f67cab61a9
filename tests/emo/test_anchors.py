import torch

from emo.models.anchors import cell_anchors, decode_boxes, encode_boxes, grid_anchors


def test_a_cell_has_two_squares_and_four_oblong_anchors_in_the_official_order() -> None:
    anchors = cell_anchors(0)
    sides = anchors[:, 2:] - anchors[:, :2]
    assert torch.allclose(sides[0], torch.tensor([48.0, 48.0]))
    assert torch.allclose(sides[1], torch.tensor([4800.0**0.5] * 2))
    assert torch.allclose(sides[2:, 1] / sides[2:, 0], torch.tensor([1 / 2, 2, 1 / 3, 3]))
    assert torch.allclose((anchors[:, :2] + anchors[:, 2:]) / 2, torch.tensor(8.0))


def test_anchors_run_row_by_row_level_by_level() -> None:
    anchors = grid_anchors([(1, 2), (1, 1)])
    assert anchors.shape == (18, 4)
    assert torch.allclose(anchors[6:12] - anchors[:6], torch.tensor([16.0, 0.0, 16.0, 0.0]))
    assert torch.allclose(anchors[12:], cell_anchors(1))


def test_decoding_undoes_encoding() -> None:
    anchors = grid_anchors([(4, 4)])
    boxes = torch.tensor([[10.0, 20.0, 50.0, 45.0]]).expand(len(anchors), 4)
    torch.testing.assert_close(decode_boxes(anchors, encode_boxes(anchors, boxes), 64, 64), boxes, atol=1e-4, rtol=0)


def test_boxes_are_clipped_to_the_input_and_never_overflow() -> None:
    anchors = grid_anchors([(1, 1)])
    boxes = decode_boxes(anchors, torch.full((1, 6, 4), 1e6), 48, 64)
    assert torch.isfinite(boxes).all()
    assert (boxes[..., 0::2] <= 64).all()
    assert (boxes[..., 1::2] <= 48).all()
