"""The manifest of a model: the JSON beside an ONNX file that makes it servable.

``emo`` writes it, ``emo_serve`` reads it; nothing else passes between the two.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from emo_serve.errors import InvalidManifest
from emo_serve.faults import described
from emo_serve.files import open_regular, read_regular

MANIFEST_FILE = "manifest.json"
MODEL_FILE = "model.onnx"
LABELS_FILE = "labels.txt"
MAX_MANIFEST_BYTES = 512 * 1024
"""They usually have 4 to 6 kB; a golden picture of 300 kB fits, too. Parsing the worst one takes 170 MB."""
Task = Literal["classify", "detect", "segment"]
TASKS: tuple[Task, ...] = get_args(Task)
MAX_SEGMENT_CLASSES = 256
Unit = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"
VERSION_PATTERN = r"^[1-9][0-9]{0,8}$"
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")]
"""A file beside the manifest, not a path, so that a manifest reaches nothing outside its folder."""
GroupName = Annotated[str, StringConstraints(pattern=r"^[^\p{C}\p{Z}]+( [^\p{C}\p{Z}]+)*$")]
"""Printable words separated by single spaces."""
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


_FORMS: Mapping[Task, tuple[int, str]] = MappingProxyType(
    {
        "classify": (2, "scores (-1, C)"),
        "detect": (3, "boxes (-1, A, 4), scores (-1, A, C)"),
        "segment": (4, "logits (-1, C, h, w)"),
    }
)
"""Rank of the last output, and a description of all outputs."""


def known_as(name: str, names: Collection[str]) -> str:
    """The one of ``names`` that is meant: the name itself, else the only one that differs just in '-' and '_'."""
    if name in names:
        return name
    alike = [known for known in names if known.replace("_", "-") == name.replace("_", "-")]
    return alike[0] if len(alike) == 1 else name


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


class Tensor(_Frozen):
    """One input or output of the graph; -1 in ``shape`` is the batch."""

    name: str
    dtype: Literal["uint8", "float32"]
    shape: Annotated[tuple[int, ...], FailFast()]


class Preprocessing(_Frozen):
    """Conversion of an RGB image to the input tensor.

    ``crop``: the short side is resized to ``resize`` pixels, then the centre ``height`` x ``width`` is cut out.
    ``stretch``: both sides are resized, the aspect ratio is lost.
    ``fit``: the largest size that keeps the aspect ratio and fits, in the top left corner; the rest is filled with the
    grey level ``padding``, or the mean.
    ``mean`` and ``std`` (in 0..255) are applied inside the graph and are given here for the reader.
    """

    mode: Literal["crop", "stretch", "fit"]
    height: int = Field(ge=1, le=4096)
    width: int = Field(ge=1, le=4096)
    resize: int | None = Field(default=None, ge=1, le=4096)
    padding: int | None = Field(default=None, ge=0, le=255)
    interpolation: Literal["bilinear", "bicubic"]
    mean: tuple[float, float, float]
    std: tuple[Positive, Positive, Positive]

    @model_validator(mode="after")
    def _resize_goes_with_crop(self) -> Self:
        if (self.mode == "crop") != (self.resize is not None):
            msg = "resize belongs to mode 'crop' and only there"
            raise ValueError(msg)
        if self.resize is not None and self.resize < max(self.height, self.width):
            msg = f"resize {self.resize} is smaller than the crop {self.height}x{self.width}"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _padding_goes_with_fit(self) -> Self:
        if self.padding is not None and self.mode != "fit":
            msg = "padding belongs to mode 'fit' and only there"
            raise ValueError(msg)
        return self


class DetectionDefaults(_Frozen):
    """Detection parameters for requests that do not set them."""

    score_threshold: Unit = 0.3
    iou_threshold: Unit = 0.45
    max_detections: int = Field(default=100, ge=1, le=1000)


class GoldenOutput(_Frozen):
    """Some values of one output tensor: ``output.ravel()[indices] == values`` within ``tolerance``."""

    name: str
    indices: Annotated[tuple[Annotated[int, Field(ge=0)], ...], FailFast()]
    values: Annotated[tuple[float, ...], FailFast()]
    tolerance: float = Field(gt=0)

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if len(self.indices) != len(self.values) or not self.indices:
            msg = "indices and values must have the same length, at least one"
            raise ValueError(msg)
        return self


class Golden(_Frozen):
    """A small picture and what the graph must answer to it, preprocessing included."""

    image_png_base64: str
    outputs: Annotated[tuple[GoldenOutput, ...], FailFast()]

    @field_validator("image_png_base64")
    @classmethod
    def _is_base64(cls, value: str) -> str:
        try:
            base64.b64decode(value, validate=True)
        except binascii.Error as error:
            msg = f"not base64: {error}"
            raise ValueError(msg) from error
        return value

    def image_bytes(self) -> bytes:
        """The picture as an encoded PNG."""
        return base64.b64decode(self.image_png_base64)


class ModelCard(_Frozen):
    """Documentation of the model: origin, quality, intended use and terms."""

    architecture: str
    training_data: str
    recipe: str
    seed: int
    metrics: dict[str, float]
    measured_on: str
    intended_use: str
    terms: str


class Manifest(_Frozen):
    """The whole of ``manifest.json``; ``sha256`` maps each other file of the folder to its digest.

    A classifier has the output ``scores`` (-1, C), a detector ``boxes`` (-1, A, 4) and ``scores`` (-1, A, C), a
    segmenter ``logits`` (-1, C, h, w). ``groups`` are the broad groups of a classifier's classes, one for each label.
    """

    schema_version: Literal[1] = 1
    name: str = Field(pattern=NAME_PATTERN)
    version: str = Field(pattern=VERSION_PATTERN)
    task: Task
    input: Tensor
    outputs: Annotated[tuple[Tensor, ...], FailFast()]
    preprocessing: Preprocessing
    detection: DetectionDefaults | None = None
    groups: tuple[GroupName, ...] | None = None
    sha256: dict[FileName, Digest]
    golden: Golden
    card: ModelCard

    @property
    def num_classes(self) -> int:
        """C, the number of labels."""
        return self.outputs[-1].shape[1 if self.task == "segment" else -1]

    @model_validator(mode="after")
    def _input_fits_the_preprocessing(self) -> Self:
        wanted = (-1, self.preprocessing.height, self.preprocessing.width, 3)
        if self.input.dtype != "uint8" or self.input.shape != wanted:
            msg = f"the input must be uint8 {wanted}, as the preprocessing gives, not {_describe(self.input)}"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _outputs_fit_the_task(self) -> Self:
        if (self.task == "detect") != (self.detection is not None):
            msg = "'detection' belongs to task 'detect' and only there"
            raise ValueError(msg)
        last = self.outputs[-1].shape if self.outputs else ()
        rank, form = _FORMS[self.task]
        wanted = {
            "classify": [("scores", (-1, *last[1:2]))],
            "detect": [("boxes", (-1, *last[1:2], 4)), ("scores", (-1, *last[1:3]))],
            "segment": [("logits", (-1, *last[1:4]))],
        }[self.task]
        given = [(output.name, output.shape) for output in self.outputs]
        is_float = all(output.dtype == "float32" for output in self.outputs)
        if given != wanted or len(last) != rank or min(last[1:]) < 1 or not is_float:
            found = ", ".join(map(_describe, self.outputs))
            msg = f"the outputs for {self.task} must be float32 {form}, in this order, not {found}"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _every_class_has_a_group(self) -> Self:
        if self.groups is None:
            return self
        if self.task != "classify":
            msg = "'groups' belongs to task 'classify' and only there"
            raise ValueError(msg)
        if len(self.groups) != self.num_classes:
            msg = f"groups must name one for each of the {self.num_classes} classes, and it has {len(self.groups)}"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _every_pixel_gets_a_class(self) -> Self:
        if self.task != "segment":
            return self
        if self.preprocessing.mode == "crop":
            msg = "a segmenter cannot be given a crop, which leaves pixels out; allowed are 'stretch' and 'fit'"
            raise ValueError(msg)
        if self.num_classes > MAX_SEGMENT_CLASSES:
            msg = f"a segmenter has at most {MAX_SEGMENT_CLASSES} classes, as many as a palette, not {self.num_classes}"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _files_are_listed(self) -> Self:
        missing = {MODEL_FILE, LABELS_FILE} - self.sha256.keys()
        if missing or MANIFEST_FILE in self.sha256:
            msg = f"sha256 must list {MODEL_FILE} and {LABELS_FILE}, and not {MANIFEST_FILE}"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _golden_covers_the_outputs(self) -> Self:
        checked = sorted(output.name for output in self.golden.outputs)
        wanted = sorted(output.name for output in self.outputs)
        if checked != wanted:
            msg = f"golden must check each of the outputs {wanted} once, not {checked}"
            raise ValueError(msg)
        return self


def _describe(tensor: Tensor) -> str:
    return f"{tensor.name} {tensor.dtype} {tensor.shape}"


def read_manifest(path: Path) -> Manifest:
    """The manifest at ``path``; raises InvalidManifest, which names the file and the fields."""
    try:
        return Manifest.model_validate_json(read_regular(path, MAX_MANIFEST_BYTES))
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise InvalidManifest(msg) from error
    except ValidationError as error:
        msg = f"{path}: {described(error)}"
        raise InvalidManifest(msg) from error


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write the manifest as indented JSON that ends with a newline."""
    path.write_text(json.dumps(manifest.model_dump(exclude_none=True), indent=1) + "\n", encoding="utf-8")


def sha256_of(path: Path) -> str:
    """The hex digest of a file; raises OSError if it cannot be read or is not a regular file."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
