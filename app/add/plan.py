"""What was recognised of a network: all that its wrapper has to build, and the reasons for people."""

from dataclasses import dataclass
from typing import Literal

from app.manifest import Preprocessing


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was recognised or assumed, and the flag that says otherwise."""

    subject: str
    text: str
    flag: str = ""


@dataclass(frozen=True, slots=True)
class Front:
    """How pixels uint8 (N, H, W, 3), RGB, become the network's input."""

    name: str
    dtype: Literal["uint8", "float32", "float16"]
    channels_first: bool
    bgr: bool
    rule: Preprocessing
    one_by_one: bool
    """The network takes one image at a time, not a batch."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns ``first`` to ``last``, exclusive, of an output (N, A, F), or (N, F, A) if ``transposed``."""

    output: str
    first: int
    last: int
    transposed: bool = False


@dataclass(frozen=True, slots=True)
class ClassifierEnd:
    """How an output (N, C, 1, 1, ...) becomes ``scores`` (N, C)."""

    output: str
    num_classes: int
    softmax: bool


@dataclass(frozen=True, slots=True)
class DetectorEnd:
    """How outputs become ``boxes`` (N, A, 4) and ``scores`` (N, A, C)."""

    boxes: Columns
    scores: Columns
    objectness: Columns | None
    anchors: int
    centred: bool
    """Boxes are cxcywh, not xyxy."""
    normalised: bool
    activation: Literal["sigmoid", "softmax"] | None
    background: Literal["none", "first", "last"] = "none"

    @property
    def num_classes(self) -> int:
        """C, without a background."""
        return self.scores.last - self.scores.first - (self.background != "none")


End = ClassifierEnd | DetectorEnd
