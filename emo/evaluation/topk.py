"""Top-1 and top-5 of a classifier, and top-1 of its groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from emo.data.folders import LabelledFiles
from emo.evaluation.answers import Answer
from emo.evaluation.images import PictureFile, key_of

LEAST_FOR_TOP5 = 10
"""With fewer classes, five are more than half of them, so top-5 means nothing."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Pictures that show one class each."""

    names: tuple[str, ...]
    pictures: tuple[PictureFile, ...]
    labels: tuple[int, ...]

    @classmethod
    def of(cls, files: LabelledFiles, root: Path | None = None) -> "Labelled":
        """A split as read from disk, from ``root`` if that is known."""
        pictures = (PictureFile(key_of(f.path, root, f.rectangle), f.path, f.rectangle) for f in files.files)
        return cls(files.names, tuple(pictures), tuple(file.label for file in files.files))

    def figures(self, answers: Sequence[Answer], names: tuple[str, ...]) -> dict[str, float]:
        """``top1`` in [0, 1], and ``top5`` of a model of ten classes or more, which are ``names``."""
        both = list(zip(self.labels, answers, strict=True))
        ranks = (1, 5) if len(names) >= LEAST_FOR_TOP5 else (1,)
        return {f"top{k}": sum(label in answer.labels[:k] for label, answer in both) / len(both) for k in ranks}

    def group_top1(self, answers: Sequence[Answer], groups: Mapping[int, str]) -> float:
        """Share of pictures, in [0, 1], whose best group is that of the right class; ``groups`` by class number."""
        both = zip(self.labels, answers, strict=True)
        return sum((answer.groups or [])[:1] == [groups[label]] for label, answer in both) / len(answers)
