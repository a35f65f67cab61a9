"""Values that pass through the pipeline: frozen, with shapes checked on creation."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ImageSize:
    """Size in pixels of the upright image."""

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
    """Request parameters of a classifier; ``full_decode``: never decode at a fraction of the image's size."""

    top_k: int = 5
    score_threshold: float = 0.0
    full_decode: bool = False


@dataclass(frozen=True, slots=True)
class DetectParameters:
    """Request parameters of a detector; None means the manifest's default, ``full_decode`` as for a classifier."""

    score_threshold: float | None = None
    iou_threshold: float | None = None
    max_detections: int | None = None
    classes: tuple[str, ...] | None = None
    class_agnostic: bool = False
    full_decode: bool = False


@dataclass(frozen=True, slots=True)
class SegmentParameters:
    """Request parameters of a segmenter; ``full_decode`` as for a classifier."""

    full_decode: bool = False


@dataclass(frozen=True, slots=True)
class GraphParameters:
    """Asks any model for the outputs of its graph as they are; ``full_decode`` as for a classifier."""

    full_decode: bool = False


Parameters = ClassifyParameters | DetectParameters | SegmentParameters | GraphParameters


@dataclass(frozen=True, slots=True)
class GroupScore:
    """A broad group of classes, and the sum of their scores, in [0, 1]."""

    name: str
    score: float


@dataclass(frozen=True, slots=True)
class Classification:
    """The K best classes of one image, best first, and the best groups, if the model has groups."""

    class_ids: NDArray[np.int64]  # (K,)
    scores: NDArray[np.float32]  # (K,) in [0, 1]
    groups: tuple[GroupScore, ...] | None = None

    def __post_init__(self) -> None:
        """Raise ValueError if the shapes disagree."""
        if self.class_ids.ndim != 1 or self.class_ids.shape != self.scores.shape:
            msg = f"class ids {self.class_ids.shape} and scores {self.scores.shape} must both be (K,)"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class Detections:
    """The K objects found in one image, best first."""

    boxes_xyxy: NDArray[np.float32]  # (K, 4) in pixels of the upright image
    class_ids: NDArray[np.int64]  # (K,)
    scores: NDArray[np.float32]  # (K,) in [0, 1]

    def __post_init__(self) -> None:
        """Raise ValueError if the shapes disagree."""
        count = self.class_ids.shape[0]
        shapes = (self.boxes_xyxy.shape, self.class_ids.shape, self.scores.shape)
        if shapes != ((count, 4), (count,), (count,)):
            msg = f"boxes, class ids, scores must be (K, 4), (K,), (K,), not {shapes}"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class Region:
    """All pixels of an image that have one class: their number, and their mask in COCO's compressed RLE."""

    class_id: int
    pixels: int
    counts: str


@dataclass(frozen=True, slots=True)
class Segmentation:
    """The class of every pixel of an image, and the classes that occur, the largest first.

    If the image is very large, a pixel of the class map stands for several of the image's.
    """

    image: ImageSize
    class_map: NDArray[np.uint8]  # (h, w), class ids
    regions: tuple[Region, ...]

    def __post_init__(self) -> None:
        """Raise ValueError if the map is not (h, w) or has more pixels a side than the image."""
        shape = self.class_map.shape
        if len(shape) != 2 or not (0 < shape[0] <= self.image.height and 0 < shape[1] <= self.image.width):
            msg = f"a class map {shape} does not fit {self.image}"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class GraphOutputs:
    """The outputs of the graph for one image, by name, without the batch axis."""

    tensors: Mapping[str, NDArray[np.float32]]


Result = Classification | Detections | Segmentation | GraphOutputs


@dataclass(frozen=True, slots=True)
class Timings:
    """Times of one image: ``stages`` name -> seconds, in order, ``total`` last.

    ``scale`` divided the image's sides in decoding. ``starts`` is when each stage but ``total`` began
    (``time.perf_counter()``); ``batch_size`` images were computed together.
    """

    stages: Mapping[str, float]
    scale: int = 1
    starts: Mapping[str, float] = field(default_factory=dict)
    batch_size: int = 1


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer about one image, and where its time went.

    ``default_result`` is what a request without thresholds and classes of its own would have got.
    """

    image: ImageSize
    result: Result
    default_result: Result
    timings: Timings
