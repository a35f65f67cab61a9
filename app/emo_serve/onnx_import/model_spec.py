"""The model spec: everything recognised about a network that the graph builder needs, and the findings."""

from dataclasses import dataclass
from typing import Literal

from emo_serve.manifest import Preprocessing

Order = Literal["xyxy", "yxyx", "cxcywh", "xywh"]
Channels = Literal["rgb", "bgr", "grey"]
ScoreKind = Literal["sigmoid", "softmax", "none", "percent", "probabilities", "logits"]
"""The kind of scores that ``--scores`` names."""
Activation = Literal["sigmoid", "softmax", "percent"] | None
"""The function that turns scores into probabilities; ``percent``: division by 100."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was recognised or assumed, and the flag that overrides it."""

    subject: str
    text: str
    flag: str = ""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """Conversion of pixels uint8 (N, H, W, 3), RGB, to the network's inputs."""

    name: str
    dtype: Literal["uint8", "float32", "float16"]
    channels_first: bool
    channels: Channels
    rule: Preprocessing
    one_by_one: bool
    """True if the network takes one image at a time, not a batch."""
    is_unbatched: bool = False
    """True if its input is a picture (3, H, W), without a batch axis."""
    sizes: tuple[str, str] | None = None
    """Name and type of a second input (N, 2) for the width and height of the pictures."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns ``first`` to ``last``, exclusive, of an output (N, A, F), or (N, F, A) if ``transposed``."""

    output: str
    first: int
    last: int
    transposed: bool = False
    missing: tuple[int, ...] = ()
    """Axes of (N, A, F) that the output lacks: 0 the batch, 2 the columns, of which there is then one."""


@dataclass(frozen=True, slots=True)
class ClassifierHead:
    """Conversion of an output (N, C, 1, 1, ...) to ``scores`` (N, C)."""

    output: str
    scores: int
    """Number of scores in the output."""
    activation: Activation
    is_pair: bool = False
    """True if the output is one score, that of the second of two classes."""
    served: tuple[int, ...] | None = None
    """Indices of the served classes, None for all."""

    @property
    def num_classes(self) -> int:
        """Number of served classes."""
        return self.scores if self.served is None else len(self.served)


@dataclass(frozen=True, slots=True)
class BoxFormat:
    """Meaning of four coordinates."""

    order: Order
    normalised: bool


@dataclass(frozen=True, slots=True)
class DetectorHead:
    """Conversion of outputs to ``boxes`` (N, A, 4) and ``scores`` (N, A, C)."""

    boxes: Columns
    scores: Columns
    objectness: Columns | None
    anchors: int
    box_format: BoxFormat
    activation: Activation
    background: Literal["none", "first", "last"] = "none"
    strides: tuple[int, ...] = ()
    """Pixels a cell of the grids of a raw head, whose boxes are offsets in cells and logarithms of sizes."""

    served: tuple[int, ...] | None = None
    """Indices of the served classes, counted without a background, None for all."""

    @property
    def num_classes(self) -> int:
        """Number of served classes, without a background."""
        wide = self.scores.last - self.scores.first - (self.background != "none")
        return wide if self.served is None else len(self.served)


@dataclass(frozen=True, slots=True)
class NmsOutputs:
    """Columns with the boxes, scores and classes of objects, one a row, and the output (N,) with their number."""

    boxes: Columns
    scores: Columns
    classes: Columns
    count: str | None = None

    @property
    def outputs(self) -> tuple[str, str, str]:
        """Names of the outputs with boxes, scores and classes."""
        return self.boxes.output, self.scores.output, self.classes.output

    @property
    def for_one_image(self) -> bool:
        """True if the outputs have no batch axis."""
        return 0 in self.boxes.missing


@dataclass(frozen=True, slots=True)
class NmsHead:
    """Conversion of lists of objects to ``boxes`` (N, A, 4) and ``scores`` (N, A, C).

    The ``anchors`` best of each list are kept; shorter lists are padded with scores of 0.
    """

    nms: NmsOutputs
    anchors: int
    box_format: BoxFormat
    classes: tuple[int, ...]
    """The network's number of each served class."""
    one_by_one: bool
    """True if the network takes one image at a time, or is not known to take a batch."""

    @property
    def num_classes(self) -> int:
        """Number of served classes."""
        return len(self.classes)


Head = ClassifierHead | DetectorHead | NmsHead
