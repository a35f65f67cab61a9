"""What the four coordinates of a network's boxes mean: recognised by their values for some pictures."""

import numpy as np
from numpy.typing import NDArray

from app.add.options import Options
from app.add.plan import BoxFormat, Finding, Order
from app.manifest import Preprocessing

_ORDERED = 0.99  # share of the boxes whose second corner is right of and below the first: xyxy
_NORMALISED = 2.0  # no coordinate of normalised boxes is larger, though some reach out of the picture
_BEYOND = 1.05  # so many sides of the picture: boxes reach that far out of it, but not much further


def recognise_boxes(
    boxes: NDArray[np.floating], options: Options, rule: Preprocessing, usual: Order = "xyxy"
) -> tuple[BoxFormat, list[Finding]]:
    """The format of boxes (..., 4); ``usual`` is that of normalised corners, whose values cannot tell x from y."""
    largest = float(np.abs(boxes).max(initial=0))
    normalised = options.units == "normalized" if options.units else largest <= _NORMALISED
    units_text = f"{'normalized' if normalised else 'pixel'}: the largest number is {largest:.4g}"
    if options.units:
        units_text = f"{options.units}, as --units says"
    order, order_text = _order(boxes, rule, usual, normalised=normalised)
    if options.boxes and options.boxes != "yolox":
        order, order_text = options.boxes, f"{options.boxes}, as --boxes says"
    return BoxFormat(order, normalised), [
        Finding("boxes", order_text, "--boxes"),
        Finding("units", units_text, "--units"),
    ]


def _order(boxes: NDArray[np.floating], rule: Preprocessing, usual: Order, *, normalised: bool) -> tuple[Order, str]:
    ordered = (boxes[..., 2] >= boxes[..., 0]) & (boxes[..., 3] >= boxes[..., 1])
    share = float(ordered.mean()) if ordered.size else 1.0
    if share < _ORDERED:
        return "cxcywh", f"cxcywh: x1 <= x2 and y1 <= y2 would hold for {share:.0%}"
    sides = np.array([1.0, 1.0] if normalised else [rule.width, rule.height])
    reach = boxes[..., 2:].reshape(-1, 2).max(axis=0, initial=0)
    if (reach > _BEYOND * sides).any() and (reach[::-1] <= _BEYOND * sides).all():
        return "yxyx", f"yxyx: as xyxy they would reach to {reach[0]:.4g}, {reach[1]:.4g}"
    usual = usual if normalised else "xyxy"
    text = f"{usual}: x1 <= x2 and y1 <= y2 hold for {share:.0%}"
    return usual, text + ("; y first is assumed, as TensorFlow has it" if usual == "yxyx" else "")
