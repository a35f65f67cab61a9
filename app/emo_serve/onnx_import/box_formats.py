"""Recognition of box formats from the values of boxes for some pictures.

Every order is tried. In the right one nearly all boxes have an area and lie in the picture; and as pictures are also
tried mirrored, the boxes are centred on the middle of the picture on average.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from emo_serve.manifest import Preprocessing
from emo_serve.onnx_import.model_spec import BoxFormat, Finding, Order
from emo_serve.onnx_import.options import Options

_ORDERS: tuple[Order, ...] = get_args(Order)
_NORMALISED = 2.0  # largest coordinate of normalised boxes, some of which reach outside the picture
_BEYOND = 0.05  # of a side: how far boxes may reach outside the picture
_USUAL = 0.05  # bonus of the usual order, as a share of the boxes
_CLEAR, _LIKELY = 0.3, 0.1  # lead of the best order
_FASTER = 2.0  # ratio of the changes of x and y between neighbours of a grid, which is in row order


@dataclass(frozen=True, slots=True)
class _OrderFit:
    """Statistics of boxes read in one order."""

    inside: float
    """Share of the boxes that have an area and lie in the picture."""
    middle: float
    """Mean centre of all boxes from left to right, in 0..1."""

    @property
    def merit(self) -> float:
        """Plausibility of the order, at most 1."""
        return self.inside - 2 * min(abs(self.middle - 0.5), 0.5)

    def __str__(self) -> str:
        """Text for findings."""
        return f"{self.inside:.0%} around {self.middle:.0%} of the width"


def recognise_boxes(
    boxes: NDArray[np.floating], options: Options, rule: Preprocessing, usual: Order | None = None
) -> tuple[BoxFormat, list[Finding]]:
    """The format of boxes (P, A, 4) of a grid or (K, 4); ``usual`` is the order that is preferred in doubt."""
    values = boxes.astype(np.float64)
    largest = float(np.abs(values).max(initial=0))
    normalised = options.units == "normalized" if options.units else largest <= _NORMALISED
    units_text = f"{'normalized' if normalised else 'pixel'}: the largest number is {largest:.4g}"
    if options.units:
        units_text = f"{options.units}, as --units says"
    order, order_text = _order(values, np.array([1, 1] if normalised else [rule.width, rule.height]), usual)
    if options.boxes and options.boxes != "yolox":
        order, order_text = options.boxes, f"{options.boxes}, as --boxes says"
    return BoxFormat(order, normalised), [
        Finding("boxes", order_text, "--boxes"),
        Finding("units", units_text, "--units"),
    ]


def _order(boxes: NDArray[np.float64], sides: NDArray[np.int64], usual: Order | None) -> tuple[Order, str]:
    """The likeliest order of boxes (..., 4) in a picture with these ``sides``, and why."""
    if not boxes.size:
        return usual or "xyxy", f"{usual or 'xyxy'} (assumed: nothing was found)"
    fits = {order: _read(boxes.reshape(-1, 4), sides, order) for order in _ORDERS}
    corners, corners_text = _corners(boxes, fits, usual)
    choices: tuple[Order, ...] = (corners, "cxcywh", "xywh")
    preferred = usual if usual in choices else corners
    merits = {order: fits[order].merit + _USUAL * (order == preferred) for order in choices}
    order, rival, _ = sorted(choices, key=lambda order: -merits[order])
    lead = merits[order] - merits[rival]
    sure = "clear" if lead >= _CLEAR else "likely" if lead >= _LIKELY else "unsure: look at the boxes of a --photo"
    text = f"{order} ({sure}): boxes lie in the picture, {fits[order]}; as {rival} {fits[rival]}"
    return order, text + (corners_text if order == corners else "")


def _corners(boxes: NDArray[np.float64], fits: Mapping[Order, _OrderFit], usual: Order | None) -> tuple[Order, str]:
    """The likelier order of corners, xyxy or yxyx, and why; the mean centre of few boxes does not decide it."""
    lead = fits["yxyx"].inside - fits["xyxy"].inside
    if abs(lead) > _LIKELY:
        return ("yxyx", "") if lead > 0 else ("xyxy", "")
    if usual == "yxyx":
        return "yxyx", "; y first is assumed, as TensorFlow has it"
    return ("yxyx", "; y first, as y grows from row to row of the grid") if _is_y_first(boxes) else ("xyxy", "")


def _read(boxes: NDArray[np.float64], sides: NDArray[np.int64], order: Order) -> _OrderFit:
    """Statistics of boxes (K, 4) read in this order."""
    if order == "yxyx":
        boxes = boxes[:, [1, 0, 3, 2]]
    first, second = boxes[:, :2] / sides, boxes[:, 2:] / sides
    match order:
        case "cxcywh":
            low, high = first - second / 2, first + second / 2
        case "xywh":
            low, high = first, first + second
        case _:
            low, high = first, second
    inside = (low >= -_BEYOND) & (high <= 1 + _BEYOND) & (high >= low)
    return _OrderFit(float(inside.all(axis=1).mean()), float((low[:, 0] + high[:, 0]).mean() / 2))


def _is_y_first(boxes: NDArray[np.float64]) -> bool:
    """True if the first coordinate of the corners of a grid's boxes changes more slowly than the second."""
    if boxes.ndim != 3:
        return False
    steps = np.abs(np.diff(boxes[..., :2] + boxes[..., 2:], axis=1)).mean(axis=(0, 1))
    return bool(steps[1] > _FASTER * steps[0])
