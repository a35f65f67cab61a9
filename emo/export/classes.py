"""Removal of classes from a trained model."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from emo.checkpoints.loader import Restored
from emo.models.heads.classifier import Classifier
from emo.models.heads.model import Model
from emo.models.heads.ssdlite import SSDLite


def keep_classes(trained: Restored, names: Sequence[str]) -> Restored:
    """The classifier or SSDLite with only the classes ``names``, in that order.

    Scores are as if there had been no other classes: those of a classifier add up to 1 again, those of an anchor with
    its background. Raise ValueError for another kind of model, unknown names, and too few.
    """
    unknown = [name for name in names if name not in trained.labels]
    if unknown:
        msg = f"{', '.join(unknown[:5])}: not known to the model"
        raise ValueError(msg)
    rows = torch.tensor([trained.labels.index(name) for name in names])
    return replace(trained, model=_with_rows(trained, rows), labels=tuple(names))


def _with_rows(trained: Restored, rows: Tensor) -> Model:
    """The model with these rows of its final layers."""
    model = trained.model
    if isinstance(model, Classifier):
        if len(rows) < 2:
            msg = "two classes or more have to be kept"
            raise ValueError(msg)
        head = nn.Linear(model.head.in_features, len(rows))
        with torch.no_grad():
            head.weight.copy_(model.head.weight[rows])
            head.bias.copy_(model.head.bias[rows])
        model.head = head
    elif isinstance(model, SSDLite):
        columns = torch.cat([rows, torch.tensor([model.num_classes])])  # the background is the last one
        predictors: Any = model.head.classify
        for predictor in predictors:
            predictor[-1] = _with_columns(predictor[-1], model.head.columns, columns)
        model.head.columns = len(columns)
    else:
        msg = f"{trained.architecture}: only the classes of a classifier or of SSDLite can be chosen"
        raise ValueError(msg)  # noqa: TRY004 - it is about a file
    model.num_classes = len(rows)
    return model


def _with_columns(layer: nn.Conv2d, count: int, columns: Tensor) -> nn.Conv2d:
    """A convolution whose outputs are ``count`` columns for each anchor, with only these columns."""
    anchors = layer.out_channels // count
    kept = nn.Conv2d(layer.in_channels, anchors * len(columns), 1)
    kept.load_state_dict(
        {key: rows.unflatten(0, (anchors, count))[:, columns].flatten(0, 1) for key, rows in layer.state_dict().items()}
    )
    return kept
