"""Evaluated models: the common interface of exported models, checkpoints and servers."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from emo.evaluation.answers import Answer
from emo.evaluation.images import Encoded
from emo_serve.manifest import DetectionDefaults, Preprocessing, Task
from emo_serve.vision.results import ClassifyParameters, DetectParameters, SegmentParameters

LEAST_SCORE = 0.01
"""Low, as average precision needs the whole curve."""

PredictImages = Callable[[Iterable[Encoded]], Iterator[Answer]]
"""Returns the answers for pictures, in order. Raises ValueError, which names the picture, or OSError."""


@dataclass(frozen=True, slots=True)
class Description:
    """Properties of a model that are known before it runs; ``digest`` identifies it."""

    task: Task
    labels: tuple[str, ...]
    rule: Preprocessing
    detection: DetectionDefaults = field(default_factory=DetectionDefaults)
    architecture: str = ""
    digest: str = ""
    groups: tuple[str, ...] | None = None
    least_score: float = LEAST_SCORE
    """Score threshold of a detector."""


@dataclass(frozen=True, slots=True)
class EvaluatedModel:
    """A model under evaluation."""

    description: Description
    predict: PredictImages


def parameters_for(description: Description) -> ClassifyParameters | DetectParameters | SegmentParameters:
    """Parameters for the model; a detector's IoU threshold is its own default."""
    if description.task == "classify":
        return ClassifyParameters(top_k=5)
    if description.task == "segment":
        return SegmentParameters()
    overlap = description.detection.iou_threshold
    return DetectParameters(score_threshold=description.least_score, iou_threshold=overlap, max_detections=100)


def query_for(description: Description) -> dict[str, float]:
    """The parameters for the model as a query of the server."""
    parameters = asdict(parameters_for(description))
    return {key: value for key, value in parameters.items() if value is not None and key != "full_decode"}


def digest_of(files: Mapping[str, str], groups: Sequence[str] | None = None) -> str:
    """One digest for the model's files and the groups of its classes."""
    lines = [f"{name} {digest}" for name, digest in sorted(files.items())]
    return hashlib.sha256("\n".join([*lines, *(groups or ())]).encode()).hexdigest()
