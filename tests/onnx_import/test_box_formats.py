"""What four numbers of a box mean: told by the values of many boxes, and said how surely."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from emo_serve.manifest import Preprocessing
from emo_serve.onnx_import.box_formats import recognise_boxes
from emo_serve.onnx_import.model_spec import Order
from emo_serve.onnx_import.options import Options
from tests.onnx_import.adding import add, ask
from tests.onnx_import.fixed import SIDE, write_fixed
from tests.support import plain

pytestmark = pytest.mark.anyio

RULE = Preprocessing(mode="stretch", height=300, width=400, interpolation="bilinear", mean=(0, 0, 0), std=(1, 1, 1))
_ALIKE = ("yxyx", 0.8)  # boxes that all fill the picture do not show which axis is which
ORDERS: tuple[Order, ...] = ("xyxy", "yxyx", "cxcywh", "xywh")


def in_order(corners: NDArray[np.float64], order: Order) -> NDArray[np.float64]:
    """Boxes (..., 4) xyxy in another order."""
    low, high = corners[..., :2], corners[..., 2:]
    match order:
        case "cxcywh":
            return np.concatenate([(low + high) / 2, high - low], axis=-1)
        case "xywh":
            return np.concatenate([low, high - low], axis=-1)
        case "yxyx":
            return corners[..., [1, 0, 3, 2]]
    return corners


def grid(share: float) -> NDArray[np.float64]:
    """A box a cell, in reading order, (2, 144, 4) xyxy in 0..1: each about ``share`` of the picture a side."""
    rng = np.random.default_rng(7)
    row, column = np.divmod(np.arange(144), 12)
    centres = (np.stack([column, row], axis=1) + 0.5) / 12 + rng.normal(0, 0.02, (2, 144, 2))
    halves = share * np.exp(rng.normal(0, 0.3, (2, 144, 2))) / 2
    return np.concatenate([centres - halves, centres + halves], axis=-1).clip(-0.04, 1.04)


def recognised(boxes: NDArray[np.float64], usual: Order | None = None) -> tuple[Order, bool, str]:
    box_format, findings = recognise_boxes(boxes, Options(Path("a"), "a", "detect"), RULE, usual)
    return box_format.order, box_format.normalised, findings[0].text


@pytest.mark.parametrize(
    ("order", "share"), [(order, share) for order in ORDERS for share in (0.05, 0.3, 0.8) if (order, share) != _ALIKE]
)
@pytest.mark.parametrize("normalised", [True, False])
def test_boxes_of_a_grid_are_recognised_whatever_their_size(order: Order, share: float, normalised: bool) -> None:
    corners = grid(share) * (1 if normalised else np.array([400, 300, 400, 300]))
    found, is_normalised, text = recognised(in_order(corners, order))
    assert (found, is_normalised) == (order, normalised)
    assert ("(clear)" in text or "(likely)" in text) == (share > 0.05 or order in {"xyxy", "yxyx"})


@pytest.mark.parametrize("order", ["xyxy", "cxcywh", "xywh"])
def test_a_few_objects_and_their_mirror_images_are_enough(order: Order) -> None:
    objects = np.array([[0.1, 0.4, 0.35, 0.9], [0.5, 0.1, 0.6, 0.3], [0.7, 0.6, 0.95, 0.8]])
    mirrored = 1 - objects[:, [2, 1, 0, 3]]
    mirrored[:, [1, 3]] = objects[:, [1, 3]]
    assert recognised(in_order(np.concatenate([objects, mirrored]), order))[0] == order


def test_large_boxes_around_the_middle_are_not_taken_for_corners() -> None:
    rng = np.random.default_rng(0)
    boxes = np.concatenate([rng.normal(0.5, 0.02, (60, 2)), rng.uniform(0.7, 0.95, (60, 2))], axis=1)
    assert (boxes[:, :2] < boxes[:, 2:]).all()
    assert recognised(boxes)[0] == "cxcywh"


def test_what_the_numbers_leave_open_is_said() -> None:
    boxes = np.array([[0.5, 0.5, 0.5, 0.5]])  # a middle half, or nothing at all in the middle
    order, _, text = recognised(boxes)
    assert f"{order} (unsure: look at the boxes of a --photo)" in text


async def test_corner_and_size_are_served_as_boxes(tmp_path: Path, labels: Path) -> None:
    boxes = (in_order(grid(0.2)[:1], "xywh") * SIDE).astype(np.float32)
    scores = np.zeros((1, 144, 3), np.float32)
    scores[0, 70] = (0.1, 0.9, 0.2)
    file = write_fixed(tmp_path / "a.onnx", {"boxes": boxes, "scores": scores})
    for version, options in (("1", ()), ("2", ("--boxes", "xywh"))):
        assert add(file, "detect", "--labels", labels, "--version", version, *options) == 0
        (answer,) = await ask(tmp_path / "models", "detect", plain("red", SIDE, SIDE), version=version)
        assert [entry["name"] for entry in answer] == ["green"]
        assert answer[0]["box"] == pytest.approx(grid(0.2)[0, 70] * SIDE, abs=0.01)


async def test_boxes_of_detr_are_centres_and_sizes_though_all_lie_in_the_middle(tmp_path: Path, labels: Path) -> None:
    boxes = np.tile(np.array([0.5, 0.5, 0.6, 0.8], np.float32), (1, 30, 1))
    scores = np.zeros((1, 30, 3), np.float32)
    scores[0, 4, 2] = 0.8
    file = write_fixed(tmp_path / "a.onnx", {"logits": scores, "pred_boxes": boxes})
    assert add(file, "detect", "--labels", labels) == 0
    (answer,) = await ask(tmp_path / "models", "detect", plain("red", SIDE, SIDE))
    assert answer[0]["box"] == pytest.approx([12.8, 6.4, 51.2, 57.6], abs=0.01)
