"""Which boxes become labels of a picture: true ones first, then what models are sure of; doubt is an ignored region."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from emo.evaluation.answers import Answer
from emo.labelling.fusion import Box, Seen, fuse, iou

SAME = 0.8
"""Two boxes with a larger IoU than this are of one object, whatever it is called: the better one stays."""
TRUE = "true"
"""The source of a label that no model gave."""


@dataclass(frozen=True, slots=True)
class Label:
    """An object, or a region in which there may be one; ``source`` is ``TRUE`` or the models that see it."""

    name: str
    box_xyxy: Box
    score: float
    source: str
    is_ignored: bool = False
    area: float | None = None
    """In pixels, where it is not that of the box."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is true of a photo: all its objects of the classes ``names``."""

    labels: tuple[Label, ...] = ()
    names: frozenset[str] = frozenset()

    def with_more(self, other: "Known") -> "Known":
        """What both say."""
        return Known((*self.labels, *other.labels), self.names | other.names)


@dataclass(frozen=True, slots=True)
class Voice:
    """A model: what it is called, and the class name of each of its labels."""

    title: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rules:
    """From which score on a box of a class is an object, and from which on a region to ignore."""

    threshold: float
    of_class: Mapping[str, float] = field(default_factory=dict)
    ignore_above: float | None = None
    """Half of the threshold where None."""

    def object_from(self, name: str) -> float:
        """The least score of an object."""
        return self.of_class.get(name, self.threshold)

    def region_from(self, name: str) -> float:
        """The least score of a region."""
        return self.object_from(name) / 2 if self.ignore_above is None else self.ignore_above


def decide(
    voices: Sequence[Voice],
    answers: Sequence[Answer],
    names: Collection[str],
    rules: Rules,
    known: Known,
) -> list[Label]:
    """The labels of one photo: the true ones, then objects, then regions to ignore, each best first.

    ``answers`` are those of each of the ``voices``; only classes in ``names`` are wanted, and of those that are
    ``known`` the models have no say.
    """
    true = [label for label in known.labels if label.name in names]
    found = [
        Label(name, one.box_xyxy, one.score, "+".join(voices[model].title for model in one.models))
        for name, seen in _by_class(voices, answers).items()
        if name in names and name not in known.names
        for one in fuse(seen, sum(name in voice.names for voice in voices))
    ]
    found.sort(key=lambda label: -label.score)  # equal ones stay in the order of their models and labels
    objects = _apart([label for label in found if label.score >= rules.object_from(label.name)], true)
    doubted = [
        Label(label.name, label.box_xyxy, label.score, label.source, is_ignored=True)
        for label in found
        if rules.region_from(label.name) <= label.score < rules.object_from(label.name)
    ]
    return [*true, *objects, *_apart(doubted, [*true, *objects])]


def _by_class(voices: Sequence[Voice], answers: Sequence[Answer]) -> dict[str, list[Seen]]:
    seen: dict[str, list[Seen]] = {}
    for model, (voice, answer) in enumerate(zip(voices, answers, strict=True)):
        for label, score, box in zip(answer.labels, answer.scores or [], answer.boxes_xyxy or [], strict=True):
            seen.setdefault(voice.names[label], []).append(Seen(model, (box[0], box[1], box[2], box[3]), score))
    return seen


def _apart(labels: Iterable[Label], known: Iterable[Label]) -> list[Label]:
    """Those that are no second box of something known, or better."""
    chosen: list[Label] = []
    taken = [label.box_xyxy for label in known if not label.is_ignored]
    for label in labels:
        if all(iou(label.box_xyxy, box) <= SAME for box in taken):
            chosen.append(label)
            taken.append(label.box_xyxy)
    return chosen
