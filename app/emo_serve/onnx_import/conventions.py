"""How a kind of network is usually fed: what holds where no option says otherwise."""

import re
from dataclasses import dataclass
from typing import Literal

from emo_serve.errors import StartupError
from emo_serve.onnx_import.graph import Network
from emo_serve.onnx_import.options import Options, Triple

_NOTHING: Triple = (0.0, 0.0, 0.0)
_BYTES: Triple = (255.0, 255.0, 255.0)
_GREY = 114
"""What Ultralytics and YOLOX fill up with."""
_OTHER_TASKS = frozenset({"segment", "semantic", "pose", "obb", "depth"})


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
    size: tuple[int | None, int | None] = (None, None)
    """Width and height, for a graph that leaves them open."""


YOLOX = Usual(_NOTHING, (1.0, 1.0, 1.0), "as YOLOX has it", "bgr", "fit", _GREY)


def usual_of(network: Network, options: Options) -> Usual:
    """What is usual for this network, as far as its file tells; raises StartupError for another task."""
    _check_task(network.metadata.get("task", ""), options)
    assumed = "assumed: no file tells"
    if network.is_ultralytics:
        why, size = "as its metadata is Ultralytics'", _size_of(network.metadata.get("imgsz", ""))
        if options.task == "classify":
            return Usual(_NOTHING, _BYTES, why, resize="cut", size=size)
        return Usual(_NOTHING, _BYTES, why, resize="fit", padding=_GREY, size=size)
    if options.task == "classify":
        return Usual((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), assumed, resize="short")
    return Usual(_NOTHING, _BYTES, assumed, resize="fit" if len(network.outputs) == 1 else "stretch")


def _check_task(told: str, options: Options) -> None:
    if told in _OTHER_TASKS:
        msg = f"its metadata says task: {told}; classifiers and detectors can be added, and this is neither"
        raise StartupError(msg)
    if told in {"classify", "detect"} and told != options.task:
        msg = f"its metadata says task: {told}; add it with --task {told}"
        raise StartupError(msg)


def _size_of(text: str) -> tuple[int | None, int | None]:
    """Width and height of ``[height, width]``."""
    match re.findall(r"\d+", text):
        case [side]:
            return int(side), int(side)
        case [height, width]:
            return int(width), int(height)
    return None, None
