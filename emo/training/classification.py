"""The classification task: batches, loss, evaluation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from emo.data.folders import LabelledFiles, find_classification, load_squares
from emo.data.passed import passed_over
from emo.data.pictures import check_readable
from emo.evaluation.measure import predicted_figures
from emo.evaluation.topk import Labelled
from emo.export.predict import Predict, torch_predict, watched
from emo.models.preprocessing import classifier_preprocessing
from emo.training.augment import random_views
from emo_serve.manifest import Preprocessing


@dataclass(slots=True)
class ClassificationTask:
    """A classification data set, its training pictures in memory."""

    validation: LabelledFiles
    images: Tensor  # (N, S, S, 3) uint8
    labels: Tensor  # (N,)
    label_smoothing: float = 0.1
    smallest_area: float = 0.5

    @classmethod
    def load(cls, root: Path, stored_side: int) -> Self:
        """Read both splits of ``root``; training pictures are kept as squares of ``stored_side`` pixels.

        Prints what is skipped. Raise ValueError for splits with different classes, fewer than two classes, a class
        without training pictures, and files that cannot be read.
        """
        training, validation = find_classification(root, "train"), find_classification(root, "val")
        _print_passed_over(root, training, validation)
        _check_classes(root, training, validation)
        faults: list[str] = []
        images, labels = load_squares(training, stored_side, faults)
        for _ in validation.pictures("check", faults):  # before training, not after it
            pass
        check_readable(faults)
        return cls(validation, torch.from_numpy(images), torch.from_numpy(labels))

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each label."""
        return self.validation.names

    @property
    def count(self) -> int:
        """Number of training pictures."""
        return len(self.labels)

    @property
    def validation_count(self) -> int:
        """Number of validation pictures."""
        return len(self.validation.files)

    def frequencies(self) -> Tensor:
        """For each training picture the number of those of its class."""
        return self.labels.bincount()[self.labels]

    def batches(
        self, rows: Sequence[Tensor], side: int, generator: torch.Generator, *, mosaics: bool = True
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """For each batch of row numbers: normalised (N, 3, side, side) and labels (N,)."""
        del mosaics  # a classifier never sees any
        for batch in rows:
            yield random_views(self.images[batch], side, self.smallest_area, generator), self.labels[batch]

    def loss(self, model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy with label smoothing, a scalar."""
        logits = model(inputs).float()
        return functional.cross_entropy(logits, labels.to(inputs.device), label_smoothing=self.label_smoothing)

    def evaluate(self, model: nn.Module, side: int) -> dict[str, float]:
        """``top1``, of ten classes or more ``top5``, in [0, 1] over the validation split, and ``val_loss`` there.

        The loss is the mean cross entropy, without smoothing.
        """
        outputs: list[NDArray[np.float32]] = []
        figures = self.measure(classifier_preprocessing(side), watched(torch_predict(model), outputs))
        right = np.concatenate(outputs)[range(self.validation_count), [file.label for file in self.validation.files]]
        return {**figures, "val_loss": float(-np.log(right.astype(np.float64).clip(1e-12)).mean())}

    def measure(self, rule: Preprocessing, predict: Predict, groups: tuple[str, ...] | None = None) -> dict[str, float]:
        """Figures of ``evaluate`` for any predictor, without the loss; ``group_top1`` if each class has a group."""
        return predicted_figures(predict, "classify", self.names, rule, Labelled.of(self.validation), groups)


def _print_passed_over(root: Path, training: LabelledFiles, validation: LabelledFiles) -> None:
    if any(file.rectangle for file in training.files):  # contact sheets and their index
        left = ", ".join(training.rows)
    else:
        left = passed_over(root, {file.path for split in (training, validation) for file in split.files}, "in no class")
    if left:
        print(f"passed over: {left}")


def _check_classes(root: Path, training: LabelledFiles, validation: LabelledFiles) -> None:
    if training.names != validation.names:
        differing = ", ".join(sorted({*training.names} ^ {*validation.names})) or "their order"
        msg = f"{root}: the classes of the splits train and val differ: {differing}"
        raise ValueError(msg)
    if len(training.names) < 2:
        msg = f"{root}: a classifier needs two classes or more, there is only {training.names[0]}"
        raise ValueError(msg)
    seen = {file.label for file in training.files}
    unseen = [name for label, name in enumerate(training.names) if label not in seen]
    if unseen:
        msg = f"{root}: too few pictures to learn from, of {', '.join(unseen)}: each class needs two, one to train on"
        raise ValueError(msg)
    if not validation.files:
        msg = f"{root}: there are no pictures in the split val"
        raise ValueError(msg)
