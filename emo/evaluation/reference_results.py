"""Published results: the paper's figures for the same architecture and data (arXiv 2301.01146)."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from emo_serve.manifest import Task


@dataclass(frozen=True, slots=True)
class Published:
    """A figure in [0, 1], its place in the paper, and differences in how it was measured."""

    figure: str
    value: float
    source: str
    conditions: str


@dataclass(frozen=True, slots=True)
class _Split:
    """A validation split, identified by its numbers of classes and pictures, and its main figure."""

    task: Task
    classes: int
    pictures: int
    name: str
    figure: str


_IMAGENET = _Split("classify", 1000, 50_000, "ImageNet-1K val", "top1")
_COCO = _Split("detect", 80, 5000, "COCO val2017", "ap")
_ADE20K = _Split("segment", 150, 2000, "ADE20K val", "miou")

_PERCENT: Mapping[_Split, Mapping[str, float]] = MappingProxyType(
    {
        _IMAGENET: {"emo_1m": 71.5, "emo_2m": 75.1, "emo_5m": 78.4, "emo_6m": 79.0},
        _COCO: {
            "ssdlite_emo_1m": 22.0,
            "ssdlite_emo_2m": 25.2,
            "ssdlite_emo_5m": 27.9,
            "retinanet_emo_1m": 34.4,
            "retinanet_emo_2m": 36.2,
            "retinanet_emo_5m": 38.9,
        },
        _ADE20K: {
            "deeplabv3_emo_1m": 33.5,
            "deeplabv3_emo_2m": 35.3,
            "deeplabv3_emo_5m": 37.8,
            "pspnet_emo_1m": 33.2,
            "pspnet_emo_2m": 34.5,
            "pspnet_emo_5m": 38.2,
        },
    }
)
_CONDITIONS = (
    ("retinanet_", "there pictures are up to 1333 x 800 pixels large"),
    ("deeplabv3_", "there the short side of a picture is 512 pixels long"),
    ("pspnet_", "there the short side of a picture is 512 pixels long"),
)


def published(architecture: str, task: Task, classes: int, pictures: int) -> Published | None:
    """The paper's figure, if it has one for this architecture on a split with these numbers."""
    for split, percent in _PERCENT.items():
        same = (split.task, split.classes, split.pictures) == (task, classes, pictures)
        if same and architecture in percent:
            conditions = "; ".join(text for start, text in _CONDITIONS if architecture.startswith(start))
            source = f"arXiv 2301.01146, {architecture} on {split.name}"
            return Published(split.figure, percent[architecture] / 100, source, conditions)
    return None
