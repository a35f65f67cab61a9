"""Recognition of a network's input by its shape and type, with the task's conventions as defaults."""

import math
from dataclasses import replace
from typing import Literal

from emo_serve.errors import StartupError
from emo_serve.manifest import Preprocessing
from emo_serve.onnx_import.conventions import Conventions
from emo_serve.onnx_import.graph import GraphTensor, Network
from emo_serve.onnx_import.model_spec import Channels, Finding, InputSpec
from emo_serve.onnx_import.options import Options, Triple

_AS_IT_IS: tuple[Triple, Triple] = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
Shape = tuple[int | None, ...]
"""Shape of the input (N, 3, H, W) or (N, H, W, 3), with N added if it is missing."""
_SHORT_SIDE = 256 / 224  # relative to the crop, as most classifiers are evaluated
_MAX_SIDE = 4096  # the manifest's limit


def recognise_input(network: Network, options: Options, usual: Conventions) -> tuple[InputSpec, list[Finding]]:
    """The input spec; raises StartupError, which names the flag, if it cannot be determined."""
    given, sizes = _inputs(network)
    is_lone = len(given.shape) == 3
    shape = (1, *given.shape) if is_lone else given.shape
    dtype: Literal["uint8", "float32", "float16"]
    match given.dtype:
        case "uint8" | "float32" | "float16" as dtype:
            pass
        case other:
            msg = f"the input {given} is {other}; allowed are float32, float16 and uint8"
            raise StartupError(msg)
    channels_first, channels, found = _layout(given, shape, options, usual)
    width, height, size = _size(shape[2:] if channels_first else shape[1:3], given, options, usual)
    batch = shape[0]
    if batch not in {None, 1}:
        msg = f"the input {given} takes exactly {batch} pictures; export the graph with an open batch, or one of 1"
        raise StartupError(msg)
    if channels == "grey":
        usual = replace(usual, mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0))
    rule, findings = _rule(options, usual, width, height, is_bytes=dtype == "uint8")
    size_input = None if sizes is None else (sizes.name, sizes.dtype)
    spec = InputSpec(given.name, dtype, channels_first, channels, rule, batch == 1, is_lone, size_input)
    if sizes is not None:
        found.append(Finding("sizes", f"{sizes} is told {width}, {height} of every picture"))
    return spec, [Finding("input", str(given)), *found, size, *findings]


def _inputs(network: Network) -> tuple[GraphTensor, GraphTensor | None]:
    """The image input, and the input for sizes that RT-DETR and D-FINE have."""
    pictures = [tensor for tensor in network.inputs if len(tensor.shape) in {3, 4}]
    others = [tensor for tensor in network.inputs if tensor not in pictures]
    if len(pictures) == 1 and not others:
        return pictures[0], None
    if len(pictures) == 1 and len(others) == 1 and _are_sizes(others[0]):
        return pictures[0], others[0]
    msg = (
        "the graph must have one input, the pictures (N, 3, H, W) or (N, H, W, 3) or one without the N, and besides at "
        f"most their sizes (N, 2) by a name such as orig_target_sizes; it has {_list(network.inputs)}"
    )
    raise StartupError(msg)


def _are_sizes(tensor: GraphTensor) -> bool:
    is_pair = len(tensor.shape) == 2 and tensor.shape[0] in {None, 1} and tensor.shape[1] in {None, 2}
    return is_pair and "size" in tensor.name.lower() and tensor.dtype in {"int64", "int32", "float32"}


def _layout(
    given: GraphTensor, shape: Shape, options: Options, usual: Conventions
) -> tuple[bool, Channels, list[Finding]]:
    """True if channels come first; the channels; and findings."""
    places = {"nchw": shape[1], "nhwc": shape[3]}
    allowed = {"grey": {1}, "rgb": {3}, "bgr": {3}}.get(options.channels or "", {3, 1})
    if options.layout is not None:
        places = {options.layout: places[options.layout]}
    fitting = [layout for layout, count in places.items() if count in allowed]
    fitting = fitting or [layout for layout, count in places.items() if count is None]
    if not fitting:
        flags = "".join(f", as --{name} {value} says" for name, value in _flags(options) if value)
        msg = (
            f"the input {given} has no axis of 3 colours, or of 1 for grey, first or last{flags}; no others are served"
        )
        raise StartupError(msg)
    three = [layout for layout in fitting if places[layout] == 3]
    fitting = three if len(three) == 1 else fitting
    if len(fitting) != 1:
        msg = f"the input {given} does not show where its colours are; say it with --layout nchw or --layout nhwc"
        raise StartupError(msg)
    (layout,) = fitting
    channels: Channels = options.channels or ("grey" if places[layout] == 1 else usual.channels)
    words = {"nchw": "channels first", "nhwc": "channels last"}[layout]
    why = " (there is one)" if places[layout] == 1 else _why(options.channels, usual)
    return (
        layout == "nchw",
        channels,
        [
            Finding("layout", f"{layout}, {words}", "--layout"),
            Finding("channels", channels + why, "--channels"),
        ],
    )


def _flags(options: Options) -> tuple[tuple[str, str | None], ...]:
    return ("layout", options.layout), ("channels", options.channels)


def _size(
    sides: tuple[int | None, ...], given: GraphTensor, options: Options, usual: Conventions
) -> tuple[int, int, Finding]:
    height, width = sides
    wanted = options.size or (width or usual.size[0], height or usual.size[1])
    for has, wants in ((width, wanted[0]), (height, wanted[1])):
        if has is not None and wants != has:
            msg = f"--size {wanted[0]}x{wanted[1]} is not the size of the input {given}; leave it out"
            raise StartupError(msg)
    if wanted[0] is None or wanted[1] is None:
        msg = f"the input {given} leaves its size open; give it with --size, such as --size 224 or --size 640x480"
        raise StartupError(msg)
    if not (1 <= wanted[0] <= _MAX_SIDE and 1 <= wanted[1] <= _MAX_SIDE):
        msg = f"an input of {wanted[0]}x{wanted[1]} cannot be served; sides are 1 to {_MAX_SIDE}"
        raise StartupError(msg)
    by_whom = "as --size says" if options.size else "as the graph says" if None not in sides else usual.why
    return wanted[0], wanted[1], Finding("size", f"{wanted[0]} wide, {wanted[1]} high, {by_whom}", "--size")


def _rule(
    options: Options, usual: Conventions, width: int, height: int, *, is_bytes: bool
) -> tuple[Preprocessing, list[Finding]]:
    mean, std, colours = _colours(options, usual, is_bytes=is_bytes)
    resize = options.resize
    if resize is None and usual.resize in {"short", "cut"}:
        resize = round(max(width, height) * (_SHORT_SIDE if usual.resize == "short" else 1))
    mode = resize or usual.resize
    if isinstance(resize, int):
        text = f"the short side to {resize}, then the centre {width}x{height}"
    else:
        text = f"{mode} to {width}x{height}"
    least = max(width, height)
    if isinstance(resize, int) and not least <= resize <= max(least, _MAX_SIDE):
        msg = f"--resize {resize} does not go with an input of {width}x{height}; allowed are {least} to {_MAX_SIDE}"
        raise StartupError(msg)
    padding = usual.padding if options.padding is None else options.padding
    if mode != "fit":
        if options.padding is not None:
            msg = "--padding is the border of --resize fit; add that, or leave the padding out"
            raise StartupError(msg)
        padding = None
    elif padding is not None:
        if not 0 <= padding <= 255:
            msg = f"--padding {padding} is no grey level; allowed are 0 to 255"
            raise StartupError(msg)
        text += f", the rest filled up with {padding}"
    rule = Preprocessing(
        mode="fit" if mode == "fit" else "stretch" if mode == "stretch" else "crop",
        height=height,
        width=width,
        resize=resize if isinstance(resize, int) else None,
        padding=padding,
        interpolation=options.interpolation,
        mean=mean,
        std=std,
    )
    text += f", {options.interpolation}{_why(options.resize, usual)}"
    return rule, [colours, Finding("resizing", text, "--resize, --padding, --interpolation")]


def _why(given: object, usual: Conventions) -> str:
    return f" ({usual.why})" if given is None else ""


def _colours(options: Options, usual: Conventions, *, is_bytes: bool) -> tuple[Triple, Triple, Finding]:
    """Mean and standard deviation in 0..255, and a finding."""
    flag = "--mean, --std"
    if (options.mean is None) != (options.std is None):
        msg = "--mean and --std go together; --mean 0 --std 1 leaves pixels as they are, 0..255"
        raise StartupError(msg)
    if is_bytes:
        if options.mean is not None:
            msg = "the input is uint8: the graph has its own normalisation, and --mean and --std do not go with it"
            raise StartupError(msg)
        return *_AS_IT_IS, Finding("colours", "0..255 as they are, because the input is uint8")
    if options.mean is not None and options.std is not None:
        mean, std = options.mean, options.std
        if not (min(std) > 0 and all(map(math.isfinite, (*mean, *std)))):
            msg = "--mean and --std must be finite, and --std above 0"
            raise StartupError(msg)
        if max(map(abs, mean)) <= 1 and max(std) <= 1 and min(std) < 1:  # for colours in 0..1
            red, green, blue = (255 * value for value in mean)
            mean = red, green, blue
            red, green, blue = (255 * value for value in std)
            std = red, green, blue
        return mean, std, Finding("colours", f"minus {_three(mean)}, divided by {_three(std)}, in 0..255", flag)
    words = {(0.0, 255.0): "0..1", (0.0, 1.0): "0..255 as they are"}
    text = words.get((usual.mean[0], usual.std[0]), "ImageNet's mean and deviation")
    return usual.mean, usual.std, Finding("colours", f"{text} ({usual.why})", flag)


def _three(values: Triple) -> str:
    return ",".join(f"{value:g}" for value in values)


def _list(tensors: tuple[GraphTensor, ...]) -> str:
    return ", ".join(map(str, tensors)) or "none"
