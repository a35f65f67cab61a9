"""Labels of a picture: true boxes first, then confident ones; doubtful boxes become ignored regions."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from emo.evaluation.answers import Answer
from emo.labelling.fusion import Box, Detection, fuse, iou

SAME = 0.8
"""IoU above which two boxes are of one object, whatever their classes: the better one stays."""
TRUE = "true"
"""The source of a label from ground truth."""


@dataclass(frozen=True, slots=True)
class Label:
    """An object, or a region in which there may be one; ``source`` is ``TRUE`` or the models that detect it."""

    name: str
    box_xyxy: Box
    score: float
    source: str
    is_ignored: bool = False
    area: float | None = None
    """In pixels; None for that of the box."""


@dataclass(frozen=True, slots=True)
class Known:
    """Ground truth of a photo: all its objects of the classes ``names``."""

    labels: tuple[Label, ...] = ()
    names: frozenset[str] = frozenset()

    def with_more(self, other: "Known") -> "Known":
        """The union of both."""
        return Known((*self.labels, *other.labels), self.names | other.names)


@dataclass(frozen=True, slots=True)
class Annotator:
    """A model: its title, and its class names."""

    title: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rules:
    """Score thresholds by class for objects and for regions to ignore."""

    threshold: float
    of_class: Mapping[str, float] = field(default_factory=dict)
    ignore_above: float | None = None
    """None for half of the threshold of objects."""

    def object_from(self, name: str) -> float:
        """The lowest score of an object."""
        return self.of_class.get(name, self.threshold)

    def region_from(self, name: str) -> float:
        """The lowest score of a region."""
        return self.object_from(name) / 2 if self.ignore_above is None else self.ignore_above


def decide(
    annotators: Sequence[Annotator],
    answers: Sequence[Answer],
    names: Collection[str],
    rules: Rules,
    known: Known,
) -> list[Label]:
    """The labels of one photo: the true ones, then objects, then regions to ignore, each best first.

    ``answers`` are those of each of the ``annotators``; only classes in ``names`` are used, and models do not decide
    about those that are ``known``.
    """
    true = [label for label in known.labels if label.name in names]
    found = [
        Label(name, one.box_xyxy, one.score, "+".join(annotators[model].title for model in one.models))
        for name, detections in _by_class(annotators, answers).items()
        if name in names and name not in known.names
        for one in fuse(detections, sum(name in annotator.names for annotator in annotators))
    ]
    found.sort(key=lambda label: -label.score)  # stable: equal ones stay in the order of models and labels
    objects = _apart([label for label in found if label.score >= rules.object_from(label.name)], true)
    doubted = [
        Label(label.name, label.box_xyxy, label.score, label.source, is_ignored=True)
        for label in found
        if rules.region_from(label.name) <= label.score < rules.object_from(label.name)
    ]
    return [*true, *objects, *_apart(doubted, [*true, *objects])]


def _by_class(annotators: Sequence[Annotator], answers: Sequence[Answer]) -> dict[str, list[Detection]]:
    detections: dict[str, list[Detection]] = {}
    for model, (annotator, answer) in enumerate(zip(annotators, answers, strict=True)):
        for label, score, box in zip(answer.labels, answer.scores or [], answer.boxes_xyxy or [], strict=True):
            detections.setdefault(annotator.names[label], []).append(
                Detection(model, (box[0], box[1], box[2], box[3]), score)
            )
    return detections


def _apart(labels: Iterable[Label], known: Iterable[Label]) -> list[Label]:
    """Labels that do not overlap a known or better one."""
    chosen: list[Label] = []
    taken = [label.box_xyxy for label in known if not label.is_ignored]
    for label in labels:
        if all(iou(label.box_xyxy, box) <= SAME for box in taken):
            chosen.append(label)
            taken.append(label.box_xyxy)
    return chosen
