"""Tasks: how a model's outputs become a result. A new task is a new class here and a line in ``task_for``."""

from dataclasses import dataclass
from typing import Protocol

from emo_serve.engine.execution.session import Outputs
from emo_serve.engine.repository.artefacts import Artefact
from emo_serve.manifest import DetectionDefaults, Preprocessing
from emo_serve.vision.classify import Groups, top_classes
from emo_serve.vision.detect import select_detections
from emo_serve.vision.results import (
    Classification,
    ClassifyParameters,
    Detections,
    DetectParameters,
    Geometry,
    Parameters,
    Result,
    Segmentation,
    SegmentParameters,
)
from emo_serve.vision.segment import segment


class Task(Protocol):
    """Turns one image's outputs into its result."""

    @property
    def is_quick(self) -> bool:
        """True if ``postprocess`` is short enough for the event loop (tens of microseconds)."""
        ...

    def postprocess(self, outputs: Outputs, geometry: Geometry, parameters: Parameters) -> Result:
        """The result, in pixels of the upright image; raises InvalidParameter."""
        ...


@dataclass(frozen=True, slots=True)
class ClassifyTask:
    """Outputs ``scores (C,)``."""

    groups: Groups | None = None
    is_quick: bool = True

    def postprocess(self, outputs: Outputs, geometry: Geometry, parameters: Parameters) -> Classification:
        """The best classes and groups; the geometry does not matter."""
        del geometry
        if not isinstance(parameters, ClassifyParameters):
            msg = f"a classifier cannot be asked with {type(parameters).__name__}"
            raise TypeError(msg)
        return top_classes(outputs["scores"], parameters, self.groups)


@dataclass(frozen=True, slots=True)
class DetectTask:
    """Outputs ``boxes (A, 4)`` xyxy in input pixels and ``scores (A, C)``."""

    labels: tuple[str, ...]
    defaults: DetectionDefaults
    is_quick: bool = False

    def postprocess(self, outputs: Outputs, geometry: Geometry, parameters: Parameters) -> Detections:
        """The objects that survive thresholds and suppression, boxes in pixels of the upright image."""
        if not isinstance(parameters, DetectParameters):
            msg = f"a detector cannot be asked with {type(parameters).__name__}"
            raise TypeError(msg)
        return select_detections(outputs["boxes"], outputs["scores"], geometry, parameters, self.defaults, self.labels)


@dataclass(frozen=True, slots=True)
class SegmentTask:
    """Output ``logits (C, h, w)``, which cover the network input."""

    rule: Preprocessing
    is_quick: bool = False

    def postprocess(self, outputs: Outputs, geometry: Geometry, parameters: Parameters) -> Segmentation:
        """The class of every pixel of the upright image."""
        if not isinstance(parameters, SegmentParameters):
            msg = f"a segmenter cannot be asked with {type(parameters).__name__}"
            raise TypeError(msg)
        return segment(outputs["logits"], geometry, self.rule.height, self.rule.width)


def task_for(artefact: Artefact) -> Task:
    """The task that the manifest names."""
    if artefact.manifest.detection is not None:
        return DetectTask(artefact.labels, artefact.manifest.detection)
    if artefact.manifest.task == "segment":
        return SegmentTask(artefact.manifest.preprocessing)
    groups = artefact.manifest.groups
    return ClassifyTask(Groups.of(groups) if groups else None)
