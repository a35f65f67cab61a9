"""A model as Hugging Face's ``optimum`` exports it: what its configuration says, as options of ``emo-serve add``.

``config.json`` has the task and the labels, ``preprocessor_config.json`` what is done with pictures, in the words of
``transformers``' image processors.
"""

import argparse
import json
import math
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from emo_serve.errors import StartupError
from emo_serve.files import read_regular
from emo_serve.onnx_import.hf_files import CONFIG, PREPROCESSOR, model_files
from emo_serve.onnx_import.labels import is_missing

_MOST_BYTES = 4 * 1024**2
_TASKS = {"ForImageClassification": "classify", "ForObjectDetection": "detect"}
_SOFTMAX = frozenset({"detr", "table-transformer", "yolos"})
_SIGMOID = frozenset({"conditional_detr", "d_fine", "deformable_detr", "rt_detr", "rt_detr_v2"})
_SCORES = {None: "softmax", "single_label_classification": "softmax", "multi_label_classification": "sigmoid"}
_FILTERS = {2: "bilinear", 3: "bicubic"}
_KINDS = ("FeatureExtractor", "ImageProcessorFast", "ImageProcessor")
_SQUARE = frozenset({"Beit", "DeiT", "Deit", "EfficientNet", "Pvt", "RTDetr", "ViT", ""})
"""Processors for which one number is both sides, and not the short one."""
_BICUBIC = frozenset({"Beit", "Bit", "CLIP", "DeiT", "Deit"})
_OTHERS = frozenset({"ConvNext", "Detr", "MobileNetV1", "MobileNetV2", "MobileViT", "Yolos"})
_CONVNEXT_SIDE = 384
"""From this side on ConvNextImageProcessor cuts nothing off."""
_REFUSED = ("rescale_offset", "include_top", "do_color_quantize")
Values = Mapping[str, Any]


def fill_in(given: argparse.Namespace, into: Path) -> str:
    """Set what ``given`` leaves open to what the model in ``given.from_hf`` says, a folder or a repository.

    A repository is fetched ``into`` another folder.

    The values, as they would be given on the command line. Raises StartupError, which names the file and the field.
    """
    folder, network = model_files(given.from_hf, given.hf_file, into)
    config, preprocessor = (Configuration.read(folder / name) for name in (CONFIG, PREPROCESSOR))
    found = {**dict(_of_model(config)), **dict(_of_pictures(preprocessor, given.size))}
    if given.task not in {None, found.get("task", given.task)}:
        config.refuse("architectures", f"--task {given.task} is not what this does; leave it out")
    given.file = folder / network
    if given.labels is None:
        given.label_names = _labels(config)
    said = {name: value for name, value in found.items() if getattr(given, name, None) is None}
    for name, value in said.items():
        setattr(given, name, value)
    if given.task is None:
        allowed = " or ".join(f"...{name}" for name in _TASKS)
        config.refuse("architectures", f"allowed is one that ends with {allowed}, or say --task")
    options = (f"--{name.replace('_', '-')} {_written(value)}" for name, value in said.items())
    return " ".join(["add", shlex.quote(str(given.file)), *options])


@dataclass(frozen=True, slots=True)
class Configuration:
    """The content of one of the files."""

    path: Path
    values: Values

    @classmethod
    def read(cls, path: Path) -> "Configuration":
        """Raises StartupError where it is no JSON object, or too large for one."""
        try:
            values = json.loads(read_regular(path, _MOST_BYTES))
        except OSError as error:
            msg = f"{path}: cannot be read: {error.strerror}"
            raise StartupError(msg) from error
        except (ValueError, RecursionError) as error:
            msg = f"{path}: is no JSON: {error}"
            raise StartupError(msg) from error
        if not isinstance(values, dict):
            msg = f"{path}: must hold a JSON object"
            raise StartupError(msg)
        return cls(path, values)

    def refuse(self, field: str, allowed: str) -> NoReturn:
        """Raise StartupError about the value of a field; a dot leads into an object."""
        value: object = self.values
        for name in field.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        msg = f"{self.path}: {field} = {json.dumps(value)[:100]}: {allowed}"
        raise StartupError(msg)

    def flag(self, field: str, *, default: bool) -> bool:
        """True or false; raises StartupError for anything else."""
        value = self.values.get(field)
        if value is not None and not isinstance(value, bool):
            self.refuse(field, "allowed are true and false")
        return default if value is None else bool(value)

    def number(self, field: str, default: float) -> float:
        """A finite number above 0; raises StartupError for anything else."""
        value = self.values.get(field)
        if value is not None and not (_is_number(value) and value > 0):
            self.refuse(field, "allowed is a number above 0")
        return default if value is None else float(value)

    def colours(self, field: str, default: float) -> tuple[float, float, float]:
        """A number for each of three colours, or one for all; raises StartupError for anything else."""
        value = self.values.get(field, default)
        values = list(value) * 3 if isinstance(value, list) and len(value) == 1 else value
        values = [values] * 3 if _is_number(values) else values
        if not (isinstance(values, list) and len(values) == 3 and all(map(_is_number, values))):
            self.refuse(field, "allowed are three numbers, or one")
        red, green, blue = map(float, values)
        return red, green, blue

    def sides(self, field: str) -> dict[str, int]:
        """An object of whole numbers of pixels, or one number as ``both``; empty where there is none."""
        value = self.values.get(field)
        sides = {"both": value} if isinstance(value, int) else {} if value is None else value
        if isinstance(sides, list) and len(sides) == 2:
            sides = dict(zip(("height", "width"), sides, strict=True))
        names: tuple[set[str], ...] = (
            {"both"},
            {"height", "width"},
            {"shortest_edge"},
            {"shortest_edge", "longest_edge"},
            set(),
        )
        if not (
            isinstance(sides, dict)
            and set(sides) in names
            and all(isinstance(side, int) and side > 0 and not isinstance(side, bool) for side in sides.values())
        ):
            self.refuse(field, 'allowed are a number of pixels, {"height", "width"} and {"shortest_edge"}')
        return sides


# ---- config.json ---------------------------------------------------------------------------------------------------


def _of_model(config: Configuration) -> Iterator[tuple[str, object]]:
    """The task, and what is known of the outputs of its architecture."""
    names = config.values.get("architectures") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        config.refuse("architectures", "allowed is an array of names")
    tasks = [task for suffix, task in _TASKS.items() if names and names[0].endswith(suffix)]
    if not tasks:
        return
    yield "task", tasks[0]
    yield "score_output", "logits"
    if tasks[0] == "classify":
        problem = config.values.get("problem_type")
        if problem not in _SCORES:
            config.refuse("problem_type", f"allowed are {', '.join(filter(None, _SCORES))}, or none")
        yield "scores", _SCORES[problem]
        return
    family = config.values.get("model_type")
    if family not in _SOFTMAX | _SIGMOID:
        config.refuse("model_type", f"detectors that are known: {', '.join(sorted(_SOFTMAX | _SIGMOID))}")
    yield from {"box_output": "pred_boxes", "boxes": "cxcywh", "units": "normalized", "nms": "none"}.items()
    yield "scores", "softmax" if family in _SOFTMAX else "sigmoid"
    yield "background", "last" if family in _SOFTMAX else "none"


def _labels(config: Configuration) -> tuple[str, ...] | None:
    """The names of all classes, in order; one that occurs again gets its number. None where there are none."""
    given = config.values.get("id2label")
    if given is None:
        return None
    found: list[object] = []
    if isinstance(given, dict):
        found = [given.get(str(number)) for number in range(len(given))]
    names = [name for name in found if isinstance(name, str)]
    if not names or len(names) < len(found):
        config.refuse(
            "id2label", 'allowed is an object with a name for each number from 0 on: {"0": "cat", "1": "dog"}'
        )
    seen = set[str]()
    unique = []
    for number, name in enumerate(names):
        unique.append(f"{name} ({number})" if name in seen and not is_missing(name) else name)
        seen.add(name)
    return tuple(unique)


# ---- preprocessor_config.json --------------------------------------------------------------------------------------


def _of_pictures(given: Configuration, size: tuple[int, int] | None) -> Iterator[tuple[str, object]]:
    kind = _kind(given)
    for field in _REFUSED:
        if given.values.get(field):
            given.refuse(field, "it cannot be followed; allowed is false")
    if not given.flag("do_resize", default=True):
        given.refuse("do_resize", "pictures of all sizes come, so that they must be resized; allowed is true")
    if given.flag("do_flip_channel_order", default=kind == "MobileViT"):
        yield "channels", "bgr"
    resample = given.values.get("resample", 3 if kind in _BICUBIC else 2)
    if resample not in _FILTERS or isinstance(resample, bool):
        given.refuse("resample", "allowed are 2 (bilinear) and 3 (bicubic)")
    yield "interpolation", _FILTERS[resample]
    factor = given.number("rescale_factor", 1 / 255) if given.flag("do_rescale", default=True) else 1.0
    mean, std = (0.0,) * 3, (1.0,) * 3
    if given.flag("do_normalize", default=kind != "MobileViT"):
        mean, std = given.colours("image_mean", 0.5), given.colours("image_std", 0.5)
        if min(std) <= 0:
            given.refuse("image_std", "allowed are numbers above 0")
    yield "mean", tuple(value / factor for value in mean)
    yield "std", tuple(value / factor for value in std)
    yield from _of_sides(given, kind, size)


def _of_sides(given: Configuration, kind: str, size: tuple[int, int] | None) -> Iterator[tuple[str, object]]:
    sides, crop = given.sides("size"), given.sides("crop_size")
    if "both" in sides and kind not in _SQUARE:
        sides = {"shortest_edge": sides["both"]}
    if "both" in crop:
        crop = {"height": crop["both"], "width": crop["both"]}
    cuts = given.flag("do_center_crop", default=kind in {"MobileNetV1", "MobileNetV2"})
    short = sides.get("shortest_edge")
    if "longest_edge" in sides or (kind in {"Detr", "Yolos"} and short is not None):
        yield "resize", "fit"  # as far as an input of one size allows
    elif kind == "ConvNext" and short is not None:
        yield "size", (short, short)
        share = given.number("crop_pct", 224 / 256)
        yield "resize", int(short / share) if short < _CONVNEXT_SIDE else "stretch"
    elif short is not None:
        if not cuts or not crop:
            given.refuse("size", "the other side depends on the picture, unless do_center_crop and crop_size cut it")
        yield "size", (crop["width"], crop["height"])
        yield "resize", short
    elif sides:
        width, height = sides.get("width", sides.get("both")), sides.get("height", sides.get("both"))
        if cuts and (crop.get("width", width), crop.get("height", height)) != (width, height):
            given.refuse("crop_size", "a part of a picture that was resized out of shape cannot be cut out")
        yield "size", (width, height)
        yield "resize", "stretch"
    elif size is None:
        given.refuse("size", "it must be given, here or by --size")


def _kind(given: Configuration) -> str:
    """``ViT`` of ViTImageProcessor; '' where nothing is said."""
    name = given.values.get("image_processor_type", given.values.get("feature_extractor_type", ""))
    kind = re.sub(f"({'|'.join(_KINDS)})$", "", name) if isinstance(name, str) else None
    known = _SQUARE | _BICUBIC | _OTHERS
    if kind not in known or kind == "EfficientNet":
        field = "image_processor_type" if "image_processor_type" in given.values else "feature_extractor_type"
        names = ", ".join(f"{name}ImageProcessor" for name in sorted(known - {"", "EfficientNet"}))
        given.refuse(field, f"allowed are {names}")
    return str(kind)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _written(value: object) -> str:
    if isinstance(value, tuple):
        return ("x" if len(value) == 2 else ",").join(f"{part:g}" for part in value)
    return str(value)
