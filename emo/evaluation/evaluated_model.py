"""What is measured: a model as something that can be asked about pictures."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from emo.evaluation.answers import Answer
from emo.evaluation.images import Encoded
from emo_serve.manifest import DetectionDefaults, Preprocessing, Task
from emo_serve.vision.results import ClassifyParameters, DetectParameters, SegmentParameters

LEAST_SCORE = 0.01
"""Average precision wants the whole curve."""

Ask = Callable[[Iterable[Encoded]], Iterator[Answer]]
"""Answers about pictures, in their order. Raises ValueError, which names the picture, or OSError."""


@dataclass(frozen=True, slots=True)
class Description:
    """What is known of a model before it is asked; ``digest`` tells it from all others."""

    task: Task
    labels: tuple[str, ...]
    rule: Preprocessing
    detection: DetectionDefaults = field(default_factory=DetectionDefaults)
    architecture: str = ""
    digest: str = ""
    groups: tuple[str, ...] | None = None
    least_score: float = LEAST_SCORE
    """Of the objects that a detector is asked for."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A model that can be asked."""

    description: Description
    ask: Ask


def parameters_for(description: Description) -> ClassifyParameters | DetectParameters | SegmentParameters:
    """What the model is asked for; of a detector the overlap is the model's own."""
    if description.task == "classify":
        return ClassifyParameters(top_k=5)
    if description.task == "segment":
        return SegmentParameters()
    overlap = description.detection.iou_threshold
    return DetectParameters(score_threshold=description.least_score, iou_threshold=overlap, max_detections=100)


def query_for(description: Description) -> dict[str, float]:
    """The same for the server, by the names of its parameters."""
    parameters = asdict(parameters_for(description))
    return {key: value for key, value in parameters.items() if value is not None and key != "full_decode"}


def digest_of(files: Mapping[str, str], groups: Sequence[str] | None = None) -> str:
    """One digest for those of a model's files and the groups of its classes."""
    lines = [f"{name} {digest}" for name, digest in sorted(files.items())]
    return hashlib.sha256("\n".join([*lines, *(groups or ())]).encode()).hexdigest()
