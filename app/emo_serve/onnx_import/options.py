"""Options of ``emo-serve add``: missing values are recognised, or taken from conventions."""

import argparse
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from emo_serve.onnx_import.model_spec import Channels, Order, ScoreKind

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Options:
    """The options; ``size`` is width and height, ``mean`` and ``std`` are R, G, B in 0..255 or in 0..1."""

    file: Path
    name: str
    task: Literal["classify", "detect"]
    version: str = "1"
    models: Path = Path("models")
    labels: Path | None = None
    label_names: tuple[str, ...] | None = None
    """Of the classes, where no file has them."""
    groups: Path | None = None
    photo: Path | None = None
    size: tuple[int, int] | None = None
    layout: Literal["nchw", "nhwc"] | None = None
    channels: Channels | None = None
    mean: Triple | None = None
    std: Triple | None = None
    resize: int | Literal["stretch", "fit"] | None = None
    padding: int | None = None
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    scores: ScoreKind | None = None
    nms: Literal["inside", "none"] | None = None
    box_output: str | None = None
    score_output: str | None = None
    class_output: str | None = None
    boxes: Order | Literal["yolox"] | None = None
    units: Literal["pixel", "normalized"] | None = None
    background: Literal["none", "first", "last"] | None = None

    @classmethod
    def of(cls, given: argparse.Namespace) -> "Options":
        """The options from the parser; None stands for missing ones."""
        values = {field.name: getattr(given, field.name, None) for field in fields(cls)}
        return cls(**{name: value for name, value in values.items() if value is not None})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add an argument for every option, except ``models``, which is a setting."""
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE.onnx", help="the network")
    parser.add_argument(
        "--from-hf",
        metavar="DIR|OWNER/NAME",
        help="instead of it, what optimum exported, with its configuration: a folder, or a repository on the Hub",
    )
    parser.add_argument("--file", dest="hf_file", type=Path, metavar="ONNX", help="which network of that (model.onnx)")
    parser.add_argument("--name", required=True, help="what the model is called here")
    parser.add_argument("--task", choices=("classify", "detect"), help="needed, unless a configuration tells")
    parser.add_argument("--version", help="1, 2, 3, ... (1)")
    parser.add_argument(
        "--labels", type=Path, metavar="TXT", help="one class name a line (the names in the file, or numbers)"
    )
    parser.add_argument(
        "--groups", type=Path, metavar="CSV", help="columns name and group: a broad group for each class (none)"
    )
    parser.add_argument("--photo", type=Path, help="a photo to try it on (a picture made here)")
    parser.add_argument("--size", type=_size, metavar="PIXELS|WxH", help="of the input, where the graph leaves it open")
    parser.add_argument("--layout", choices=("nchw", "nhwc"), help="where the input's channels are (recognised)")
    parser.add_argument("--channels", choices=("rgb", "bgr", "grey"), help="their order, or one (recognised)")
    parser.add_argument("--mean", type=_triple, metavar="R,G,B", help="subtracted from the pixels, in 0..255 or 0..1")
    parser.add_argument("--std", type=_triple, metavar="R,G,B", help="what the rest is divided by, in the same unit")
    parser.add_argument(
        "--resize",
        type=_resize,
        metavar="SHORT|stretch|fit",
        help="short side before the centre is cut out; or the whole picture, out of shape or with a border",
    )
    parser.add_argument("--padding", type=int, metavar="GREY", help="0..255, of the border of `fit` (the mean)")
    parser.add_argument("--interpolation", choices=("bilinear", "bicubic"), help="(bilinear)")
    parser.add_argument(
        "--scores",
        choices=get_args(ScoreKind),
        help="what makes probabilities of what the graph gives, or what that is (recognised)",
    )
    parser.add_argument(
        "--nms", choices=("inside", "none"), help="whether the graph suppresses what overlaps itself (recognised)"
    )
    parser.add_argument("--box-output", metavar="NAME", help="which output holds the boxes (recognised)")
    parser.add_argument("--score-output", metavar="NAME", help="and which the scores (recognised)")
    parser.add_argument("--class-output", metavar="NAME", help="and which the classes of lists (recognised)")
    parser.add_argument(
        "--boxes",
        choices=("xyxy", "yxyx", "cxcywh", "xywh", "yolox"),
        help="corners, centre and size, corner and size, or raw (recognised)",
    )
    parser.add_argument("--units", choices=("pixel", "normalized"), help="units of the graph's boxes (recognised)")
    parser.add_argument(
        "--background", choices=("none", "first", "last"), help="which score or class stands for no object (recognised)"
    )


def usage_fault(given: argparse.Namespace) -> str:
    """What is wrong with the options together; '' if nothing is."""
    if (given.file is None) == (given.from_hf is None):
        return "add needs either FILE.onnx or --from-hf"
    if given.from_hf is not None:
        return ""
    if given.task is None:
        return "add needs --task classify or --task detect"
    return "--file goes with --from-hf" if given.hf_file is not None else ""


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    try:
        return int(width), int(height if "x" in text else width)
    except ValueError as error:
        msg = f"{text!r} is no size, such as 224 or 640x480"
        raise argparse.ArgumentTypeError(msg) from error


def _triple(text: str) -> Triple:
    try:
        values = [float(part) for part in text.split(",")]
        red, green, blue = values * 3 if len(values) == 1 else values
    except ValueError as error:
        msg = f"{text!r} is no number, nor three such as 123.675,116.28,103.53"
        raise argparse.ArgumentTypeError(msg) from error
    return red, green, blue


def _resize(text: str) -> int | str:
    try:
        return text if text in {"stretch", "fit"} else int(text)
    except ValueError as error:
        msg = f"{text!r} is no number of pixels, nor stretch or fit"
        raise argparse.ArgumentTypeError(msg) from error
