"""What a network wants to be given: recognised by its input's shape and type, else what is usual for the task."""

from typing import Literal

from app.add.graph import GraphTensor, Network
from app.add.options import Options, Triple
from app.add.plan import Finding, Front
from app.add.usual import Usual
from app.errors import StartupError
from app.manifest import Preprocessing

_AS_IT_IS: tuple[Triple, Triple] = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
Shape = tuple[int | None, ...]
"""Of the input (N, 3, H, W) or (N, H, W, 3), even where it lacks the N."""
_SHORT_SIDE = 256 / 224  # of the crop: what most classifiers are evaluated with


def recognise_front(network: Network, options: Options, usual: Usual) -> tuple[Front, list[Finding]]:
    """How pictures go in; raises StartupError, which names the flag, where that cannot be known."""
    if len(network.inputs) != 1:
        msg = f"the graph has {len(network.inputs)} inputs; it must have one, the picture: {_list(network.inputs)}"
        raise StartupError(msg)
    (given,) = network.inputs
    if len(given.shape) not in {3, 4}:
        msg = f"the input {given} is no batch of pictures (N, 3, H, W) or (N, H, W, 3), and no picture without the N"
        raise StartupError(msg)
    is_lone = len(given.shape) == 3
    shape = (1, *given.shape) if is_lone else given.shape
    dtype: Literal["uint8", "float32", "float16"]
    match given.dtype:
        case "uint8" | "float32" | "float16" as dtype:
            pass
        case other:
            msg = f"the input {given} is {other}; allowed are float32, float16 and uint8"
            raise StartupError(msg)
    channels_first, layout = _layout(given, shape, options)
    width, height, size = _size(given, shape, options, channels_first=channels_first)
    batch = shape[0]
    if batch not in {None, 1}:
        msg = f"the input {given} takes exactly {batch} pictures; export the graph with an open batch, or one of 1"
        raise StartupError(msg)
    rule, findings = _rule(options, usual, width, height, is_bytes=dtype == "uint8")
    is_bgr = (options.channels or usual.channels) == "bgr"
    front = Front(given.name, dtype, channels_first, is_bgr, rule, one_by_one=batch == 1, lone=is_lone)
    order = Finding("channels", f"{options.channels or usual.channels}{_why(options.channels, usual)}", "--channels")
    return front, [Finding("input", str(given)), layout, order, size, *findings]


def _layout(given: GraphTensor, shape: Shape, options: Options) -> tuple[bool, Finding]:
    places = {"nchw": shape[1], "nhwc": shape[3]}
    fitting = [layout for layout, channels in places.items() if channels == 3]
    if options.layout is not None:
        colours = places[options.layout]
        if colours not in {None, 3}:
            msg = f"--layout {options.layout} does not fit the input {given}: there would be {colours} colours"
            raise StartupError(msg)
        fitting = [options.layout]
    if len(fitting) != 1:
        msg = f"the input {given} does not show where its 3 colours are; say it with --layout nchw or --layout nhwc"
        raise StartupError(msg)
    words = {"nchw": "channels first", "nhwc": "channels last"}[fitting[0]]
    return fitting[0] == "nchw", Finding("layout", f"{fitting[0]}, {words}", "--layout")


def _size(given: GraphTensor, shape: Shape, options: Options, *, channels_first: bool) -> tuple[int, int, Finding]:
    height, width = shape[2:] if channels_first else shape[1:3]
    wanted = options.size or (width, height)
    for has, wants in ((width, wanted[0]), (height, wanted[1])):
        if has is not None and wants != has:
            msg = f"--size {wanted[0]}x{wanted[1]} is not the size of the input {given}"
            raise StartupError(msg)
    if wanted[0] is None or wanted[1] is None:
        msg = f"the input {given} leaves its size open; give it with --size, such as --size 224 or --size 640x480"
        raise StartupError(msg)
    by_whom = "as the graph says" if None not in {height, width} else "as --size says"
    return wanted[0], wanted[1], Finding("size", f"{wanted[0]} wide, {wanted[1]} high, {by_whom}")


def _rule(
    options: Options, usual: Usual, width: int, height: int, *, is_bytes: bool
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
    if isinstance(resize, int) and resize < max(width, height):
        msg = f"--resize {resize} is smaller than the input, {width}x{height}"
        raise StartupError(msg)
    padding = usual.padding if options.padding is None else options.padding
    if mode != "fit":
        if options.padding is not None:
            msg = "--padding is the border of --resize fit; add that, or leave the padding out"
            raise StartupError(msg)
        padding = None
    elif padding is not None:
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


def _why(given: object, usual: Usual) -> str:
    return f" ({usual.why})" if given is None else ""


def _colours(options: Options, usual: Usual, *, is_bytes: bool) -> tuple[Triple, Triple, Finding]:
    """Mean and standard deviation in 0..255."""
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
        if min(std) <= 0:
            msg = "--std must be above 0"
            raise StartupError(msg)
        if max(map(abs, mean)) <= 1 and max(std) <= 1 and min(std) < 1:  # of colours in 0..1
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
