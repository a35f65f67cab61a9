"""Usual inputs of each kind of network: the defaults of options."""

import re
from dataclasses import dataclass
from typing import Literal

from emo_serve.errors import StartupError
from emo_serve.onnx_import.graph import Network
from emo_serve.onnx_import.options import Options, Triple

_NOTHING: Triple = (0.0, 0.0, 0.0)
_BYTES: Triple = (255.0, 255.0, 255.0)
_GREY = 114
"""Padding of Ultralytics and YOLOX."""
_OTHER_TASKS = frozenset({"segment", "semantic", "pose", "obb", "depth"})


@dataclass(frozen=True, slots=True)
class Conventions:
    """Colours, and the place of the picture in the input; ``why`` explains them to the user."""

    mean: Triple
    std: Triple
    why: str
    channels: Literal["rgb", "bgr"] = "rgb"
    resize: Literal["short", "cut", "fit", "stretch"] = "stretch"
    """``short``: resized to a bit more than the input, then the centre is cut out. ``cut``: to exactly the input."""
    padding: int | None = None
    size: tuple[int | None, int | None] = (None, None)
    """Width and height for a graph with dynamic sizes."""


YOLOX = Conventions(_NOTHING, (1.0, 1.0, 1.0), "as YOLOX has it", "bgr", "fit", _GREY)


def conventions_of(network: Network, options: Options) -> Conventions:
    """The conventions of this network, as far as its metadata tells; raises StartupError for another task."""
    _check_task(network.metadata.get("task", ""), options)
    assumed = "assumed: no file tells"
    if network.is_ultralytics:
        why, size = "as its metadata is Ultralytics'", _size_of(network.metadata.get("imgsz", ""))
        if options.task == "classify":
            return Conventions(_NOTHING, _BYTES, why, resize="cut", size=size)
        return Conventions(_NOTHING, _BYTES, why, resize="fit", padding=_GREY, size=size)
    if options.task == "classify":
        return Conventions((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), assumed, resize="short")
    return Conventions(_NOTHING, _BYTES, assumed, resize="fit" if len(network.outputs) == 1 else "stretch")


def _check_task(task: str, options: Options) -> None:
    if task in _OTHER_TASKS:
        msg = f"its metadata says task: {task}; classifiers and detectors can be added, and this is neither"
        raise StartupError(msg)
    if task in {"classify", "detect"} and task != options.task:
        msg = f"its metadata says task: {task}; add it with --task {task}"
        raise StartupError(msg)


def _size_of(text: str) -> tuple[int | None, int | None]:
    """Width and height of ``[height, width]``."""
    match re.findall(r"\d+", text):
        case [side]:
            return int(side), int(side)
        case [height, width]:
            return int(width), int(height)
    return None, None
