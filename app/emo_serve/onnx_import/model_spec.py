"""What was recognised of a network: all that its wrapper has to build, and the reasons for people."""

from dataclasses import dataclass
from typing import Literal

from emo_serve.manifest import Preprocessing

Order = Literal["xyxy", "yxyx", "cxcywh", "xywh"]
Channels = Literal["rgb", "bgr", "grey"]
Activation = Literal["sigmoid", "softmax"] | None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was recognised or assumed, and the flag that says otherwise."""

    subject: str
    text: str
    flag: str = ""


@dataclass(frozen=True, slots=True)
class Front:
    """How pixels uint8 (N, H, W, 3), RGB, become the network's inputs."""

    name: str
    dtype: Literal["uint8", "float32", "float16"]
    channels_first: bool
    channels: Channels
    rule: Preprocessing
    one_by_one: bool
    """The network takes one image at a time, not a batch."""
    lone: bool = False
    """Its input is a picture (3, H, W), without an axis for the batch."""
    sizes: tuple[str, str] | None = None
    """Name and type of a second input (N, 2), which is told width and height of the pictures."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns ``first`` to ``last``, exclusive, of an output (N, A, F), or (N, F, A) if ``transposed``."""

    output: str
    first: int
    last: int
    transposed: bool = False
    missing: tuple[int, ...] = ()
    """Axes of (N, A, F) that the output lacks: 0 the batch, 2 the columns, of which it then is the only one."""


@dataclass(frozen=True, slots=True)
class ClassifierEnd:
    """How an output (N, C, 1, 1, ...) becomes ``scores`` (N, C)."""

    output: str
    scores: int
    """C of the output."""
    activation: Activation
    is_pair: bool = False
    """The output is one score, that of the second of two classes."""
    kept: tuple[int, ...] | None = None
    """The classes that are served, where not all are."""

    @property
    def num_classes(self) -> int:
        """C of what is served."""
        return self.scores if self.kept is None else len(self.kept)


@dataclass(frozen=True, slots=True)
class BoxFormat:
    """What four coordinates mean."""

    order: Order
    normalised: bool


@dataclass(frozen=True, slots=True)
class DetectorEnd:
    """How outputs become ``boxes`` (N, A, 4) and ``scores`` (N, A, C)."""

    boxes: Columns
    scores: Columns
    objectness: Columns | None
    anchors: int
    box_format: BoxFormat
    activation: Activation
    background: Literal["none", "first", "last"] = "none"
    strides: tuple[int, ...] = ()
    """Of a raw head over grids with cells of so many pixels: boxes are offsets in cells and logarithms of sizes."""

    kept: tuple[int, ...] | None = None
    """The classes that are served, counted without a background, where not all are."""

    @property
    def num_classes(self) -> int:
        """C, without a background."""
        wide = self.scores.last - self.scores.first - (self.background != "none")
        return wide if self.kept is None else len(self.kept)


@dataclass(frozen=True, slots=True)
class Lists:
    """Where an object a row has its box, its score and its class, and the output (N,) that counts the rows."""

    boxes: Columns
    scores: Columns
    classes: Columns
    count: str | None = None

    @property
    def outputs(self) -> tuple[str, str, str]:
        """The names of those that hold boxes, scores and classes."""
        return self.boxes.output, self.scores.output, self.classes.output

    @property
    def for_one_image(self) -> bool:
        """They have no axis for the batch."""
        return 0 in self.boxes.missing


@dataclass(frozen=True, slots=True)
class ListsEnd:
    """How lists of what was found become ``boxes`` (N, A, 4) and ``scores`` (N, A, C).

    The ``anchors`` best of each list are kept, and a shorter one is filled up with scores of 0.
    """

    lists: Lists
    anchors: int
    box_format: BoxFormat
    classes: tuple[int, ...]
    """What the network calls each class that is served."""
    one_by_one: bool
    """The network takes one image at a time, or is not known to take a batch."""

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.classes)


End = ClassifierEnd | DetectorEnd | ListsEnd
