"""Removal of classes from a classifier."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from emo.checkpoints.loader import Restored
from emo.models.heads.classifier import Classifier


def keep_classes(trained: Restored, names: Sequence[str]) -> Restored:
    """The classifier with only the classes ``names``, in that order; their scores add up to 1 again.

    Raise ValueError for another kind of model, unknown names, and fewer than two.
    """
    model = trained.model
    if not isinstance(model, Classifier):
        msg = f"{trained.architecture} is no classifier: only a classifier's classes can be chosen"
        raise ValueError(msg)  # noqa: TRY004 - it is about a file
    unknown = [name for name in names if name not in trained.labels]
    if unknown or len(names) < 2:
        msg = f"{', '.join(unknown[:5])}: not known to the model" if unknown else "two classes or more have to be kept"
        raise ValueError(msg)
    rows = torch.tensor([trained.labels.index(name) for name in names])
    head = nn.Linear(model.head.in_features, len(names))
    with torch.no_grad():
        head.weight.copy_(model.head.weight[rows])
        head.bias.copy_(model.head.bias[rows])
    model.head, model.num_classes = head, len(names)
    return replace(trained, model=model, labels=tuple(names))
