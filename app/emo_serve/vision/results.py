"""Values that travel through the pipeline: frozen, with shapes checked where they are made."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ImageSize:
    """Size in pixels of the image as a person sees it."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Geometry:
    """The affine map from the image to the network input: ``x_input = x * scale_x + offset_x``."""

    image: ImageSize
    scale_x: float
    scale_y: float
    offset_x: float = 0.0
    offset_y: float = 0.0


@dataclass(frozen=True, slots=True)
class ClassifyParameters:
    """What a client may ask of a classifier; ``full_decode``: no picture is decoded at a fraction of its size."""

    top_k: int = 5
    score_threshold: float = 0.0
    full_decode: bool = False


@dataclass(frozen=True, slots=True)
class DetectParameters:
    """What a client may ask of a detector; None means the manifest's default, ``full_decode`` is a classifier's."""

    score_threshold: float | None = None
    iou_threshold: float | None = None
    max_detections: int | None = None
    classes: tuple[str, ...] | None = None
    class_agnostic: bool = False
    full_decode: bool = False


@dataclass(frozen=True, slots=True)
class SegmentParameters:
    """What a client may ask of a segmenter; ``full_decode`` is a classifier's."""

    full_decode: bool = False


Parameters = ClassifyParameters | DetectParameters | SegmentParameters


@dataclass(frozen=True, slots=True)
class GroupScore:
    """A broad group of classes, and the sum of the scores of all of them, in [0, 1]."""

    name: str
    score: float


@dataclass(frozen=True, slots=True)
class Classification:
    """The K best classes of one image, best first, and the best groups, where the model has some."""

    labels: NDArray[np.int64]  # (K,)
    scores: NDArray[np.float32]  # (K,) in [0, 1]
    groups: tuple[GroupScore, ...] | None = None

    def __post_init__(self) -> None:
        """Raise ValueError where the shapes disagree."""
        if self.labels.ndim != 1 or self.labels.shape != self.scores.shape:
            msg = f"labels {self.labels.shape} and scores {self.scores.shape} must both be (K,)"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class Detections:
    """The K objects found in one image, best first."""

    boxes_xyxy: NDArray[np.float32]  # (K, 4) in pixels of the image as a person sees it
    labels: NDArray[np.int64]  # (K,)
    scores: NDArray[np.float32]  # (K,) in [0, 1]

    def __post_init__(self) -> None:
        """Raise ValueError where the shapes disagree."""
        count = self.labels.shape[0]
        shapes = (self.boxes_xyxy.shape, self.labels.shape, self.scores.shape)
        if shapes != ((count, 4), (count,), (count,)):
            msg = f"boxes, labels, scores must be (K, 4), (K,), (K,), not {shapes}"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class Region:
    """All pixels of an image that have one class: how many, and which, in COCO's compressed run lengths."""

    label: int
    pixels: int
    counts: str


@dataclass(frozen=True, slots=True)
class Segmentation:
    """The class of every pixel of an image, and the classes that occur, the largest first.

    A pixel of the class map stands for some of the image's where that is very large.
    """

    image: ImageSize
    class_map: NDArray[np.uint8]  # (h, w), labels
    regions: tuple[Region, ...]

    def __post_init__(self) -> None:
        """Raise ValueError where the map is none or has more pixels a side than the image."""
        shape = self.class_map.shape
        if len(shape) != 2 or not (0 < shape[0] <= self.image.height and 0 < shape[1] <= self.image.width):
            msg = f"a class map {shape} does not fit {self.image}"
            raise ValueError(msg)


Result = Classification | Detections | Segmentation


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds spent in each stage by one image, and at which fraction of its sides (1 / ``scale``) it was decoded."""

    decode: float
    preprocess: float
    queue: float
    infer: float
    postprocess: float
    total: float
    scale: int = 1

    def stages(self) -> dict[str, float]:
        """Stage name -> seconds, in the order in which the stages happen, total last."""
        return {
            "decode": self.decode,
            "preprocess": self.preprocess,
            "queue": self.queue,
            "infer": self.infer,
            "postprocess": self.postprocess,
            "total": self.total,
        }


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer about one image, and where its time went."""

    image: ImageSize
    result: Result
    timings: Timings
