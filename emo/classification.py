"""What training needs to know about classification: batches, loss, evaluation."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from app.manifest import Preprocessing
from emo.augment import MEAN, STD, random_views
from emo.data import LabelledFiles, find_classification, load_squares
from emo.evaluation.measure import predicted_figures
from emo.evaluation.predict import torch_predict
from emo.evaluation.topk import Labelled


def serving_rule(side: int) -> Preprocessing:
    """How a classifier of this input side sees a picture when it is served."""
    return Preprocessing(
        mode="crop", height=side, width=side, resize=side, interpolation="bilinear", mean=MEAN, std=STD
    )


@dataclass(slots=True)
class ClassificationTask:
    """A classification data set, its training pictures in memory."""

    validation: LabelledFiles
    images: Tensor  # (N, S, S, 3) uint8
    labels: Tensor  # (N,)
    label_smoothing: float = 0.1
    smallest_area: float = 0.5

    @classmethod
    def load(cls, root: Path, stored_side: int) -> "ClassificationTask":
        """Read both splits of ``root``; training pictures are kept as squares of ``stored_side`` pixels."""
        training, validation = find_classification(root, "train"), find_classification(root, "val")
        if training.names != validation.names:
            msg = f"{root}: the classes of the splits train and val differ"
            raise ValueError(msg)
        images, labels = load_squares(training, stored_side)
        return cls(validation, torch.from_numpy(images), torch.from_numpy(labels))

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each label."""
        return self.validation.names

    def batches(self, size: int, side: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch in random order, only full batches: normalised (N, 3, side, side) and labels (N,)."""
        for rows in torch.randperm(len(self.labels), generator=generator).split(size):
            if len(rows) == size:
                yield random_views(self.images[rows], side, self.smallest_area, generator), self.labels[rows]

    def batch_count(self, size: int) -> int:
        """How many batches an epoch has."""
        return len(self.labels) // size

    def loss(self, model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy with label smoothing, a scalar."""
        return functional.cross_entropy(model(inputs), labels.to(inputs.device), label_smoothing=self.label_smoothing)

    def evaluate(self, model: nn.Module, side: int) -> dict[str, float]:
        """``top1`` and ``top5`` in [0, 1] over the validation split."""
        truth = Labelled.of(self.validation)
        return predicted_figures(torch_predict(model), "classify", self.names, serving_rule(side), truth)
