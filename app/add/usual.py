"""How a kind of network is usually fed: what holds where no option says otherwise."""

from dataclasses import dataclass
from typing import Literal

from app.add.graph import Network
from app.add.options import Options, Triple

_NOTHING: Triple = (0.0, 0.0, 0.0)
_BYTES: Triple = (255.0, 255.0, 255.0)
_GREY = 114
"""What Ultralytics and YOLOX fill up with."""


@dataclass(frozen=True, slots=True)
class Usual:
    """Colours, and the place of the picture in the input; ``why`` is for people."""

    mean: Triple
    std: Triple
    why: str
    channels: Literal["rgb", "bgr"] = "rgb"
    resize: Literal["short", "cut", "fit", "stretch"] = "stretch"
    """``short``: a bit more than the input, of which the centre is cut out. ``cut``: no more than the input."""
    padding: int | None = None


def usual_of(network: Network, options: Options, *, is_raw_head: bool = False) -> Usual:
    """What is usual for this network, as far as its file and its answers tell."""
    assumed = "assumed: no file tells"
    if is_raw_head:
        return Usual(_NOTHING, (1.0, 1.0, 1.0), "as YOLOX has it", "bgr", "fit", _GREY)
    if network.is_ultralytics:
        why = "as its metadata is Ultralytics'"
        if options.task == "classify":
            return Usual(_NOTHING, _BYTES, why, resize="cut")
        return Usual(_NOTHING, _BYTES, why, resize="fit", padding=_GREY)
    if options.task == "classify":
        return Usual((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), assumed, resize="short")
    return Usual(_NOTHING, _BYTES, assumed, resize="fit" if len(network.outputs) == 1 else "stretch")
