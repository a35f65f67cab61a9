"""A folder of data -> ground truth."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from emo.data.boxes import size_faults
from emo.data.detection import find_detection
from emo.data.folders import find_classification
from emo.data.passed import counted
from emo.data.pictures import check_readable
from emo.data.splits import class_name
from emo.evaluation.answers import Answer
from emo.evaluation.coco import Boxed
from emo.evaluation.images import PictureFile
from emo.evaluation.miou import read_mapped
from emo.evaluation.topk import Labelled
from emo_serve.manifest import Task


class GroundTruth(Protocol):
    """A validation split; ``names`` are those of its classes, empty if it has none."""

    @property
    def names(self) -> tuple[str, ...]:
        """Class names."""

    @property
    def pictures(self) -> tuple[PictureFile, ...]:
        """All pictures."""

    def figures(self, answers: Sequence[Answer], names: tuple[str, ...]) -> dict[str, float]:
        """Named figures in [0, 1] from the answers for all pictures, the main one first.

        ``names`` are those of the model's classes.
        """


def read_ground_truth(task: Task, root: Path) -> GroundTruth:
    """The validation split at ``root``.

    Raise FileNotFoundError, which lists the supported layouts, if there is none, ValueError for pictures with boxes
    whose size differs from the stated one.
    """
    if task == "classify":
        found = find_classification(root, "val")
        if found.left:
            print(f"passed over: {', '.join(counted(list(found.left)))}")
        return Labelled.of(found, root)
    if task == "segment":
        return read_mapped(root)
    boxed = Boxed.of(find_detection(root, "val"))
    check_readable([*size_faults(boxed.data.images).values()])
    return boxed


def match_classes(model: tuple[str, ...], data: tuple[str, ...]) -> list[int]:
    """The data set's class number for each of the model's, -1 if it has none.

    By name; by their order if one side has no names, only WordNet ids (ImageNet's folders) or numbers (an import
    without labels). Raise ValueError if the model lacks classes of the data set.
    """
    by_order = list(range(len(model)))
    model, data = tuple(map(class_name, model)), tuple(map(class_name, data))
    if not data:
        return by_order
    missing = [name for name in data if name not in set(model)]
    if not missing:
        label_of = {name: label for label, name in enumerate(data)}
        return [label_of.get(name, -1) for name in model]
    if len(model) == len(data) and (_are_wordnet_ids(data) or _are_numbers(model)):
        print("classes: matched by their order, for they have no names on both sides")
        return by_order
    msg = (
        f"{len(missing)} of the {len(data)} classes of the data set are none of the model's {len(model)}: "
        f"{', '.join(missing[:5])}{', …' if len(missing) > 5 else ''}; the model knows {', '.join(model[:5])}"
        f"{', …' if len(model) > 5 else ''}"
    )
    raise ValueError(msg)


def _are_wordnet_ids(names: tuple[str, ...]) -> bool:
    return all(len(name) == 9 and name[0] == "n" and name[1:].isdigit() for name in names)


def _are_numbers(names: tuple[str, ...]) -> bool:
    return all(name == f"class {label}" for label, name in enumerate(names))
