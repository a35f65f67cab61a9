"""Broad groups of a model's classes: from a file, or from the table of ImageNet's classes.

``labels/imagenet.csv`` has ImageNet's classes in their order, and the few others of the models in this repository.
"""

from pathlib import Path

from emo_serve.groups import read_group_table, read_groups
from emo_serve.manifest import Task

IMAGENET_GROUPS = Path(__file__).parents[1] / "labels" / "imagenet.csv"

GROUPS_HELP = (
    "of a classifier: CSV table with the columns name and group, a broad group for each class "
    "(default: ImageNet's, where it knows all classes)"
)


def choose_groups(task: Task, labels: tuple[str, ...], table: Path | None = None) -> tuple[str, ...] | None:
    """The group of each of the ``labels``, or None if none are known; prints which.

    By default the ``table`` (columns ``name`` and ``group``) is that of ImageNet, if it has all labels of a classifier.
    Raise ValueError for a table with a model that is not a classifier, InvalidManifest for one that is unreadable or
    lacks labels.
    """
    if task != "classify":
        if table:
            msg = f"{table}: only the classes of a classifier have groups, and this model is to {task}"
            raise ValueError(msg)
        return None
    if table:
        groups = read_groups(table, labels)
    else:
        known = read_group_table(IMAGENET_GROUPS)
        if not known.keys() >= set(labels):
            return None
        groups = tuple(known[label] for label in labels)
    print(f"groups: {len(set(groups))}, of {table or 'ImageNet'}")
    return groups
