"""The common interface of classification, detection and distillation."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from emo.export.predict import Predict
from emo_serve.manifest import Preprocessing


class Task(Protocol):
    """A data set with its training pictures in memory, and its learning objective."""

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each label."""

    @property
    def count(self) -> int:
        """Number of training pictures."""

    @property
    def validation_count(self) -> int:
        """Number of validation pictures."""

    def frequencies(self) -> Tensor:
        """For each training picture (N,) how many there are like it, the measure of a balanced choice."""

    def batches(
        self, rows: Sequence[Tensor], side: int, generator: torch.Generator, *, mosaics: bool = True
    ) -> Iterator[tuple[Tensor, Any]]:
        """For each batch of row numbers: normalised input (N, 3, side, side) and target.

        Without ``mosaics`` each view is one of a single picture.
        """

    def loss(self, model: nn.Module, inputs: Tensor, target: Any) -> Tensor:  # noqa: ANN401 - from ``batches``
        """A scalar in float32, the mean over the batch."""

    def evaluate(self, model: nn.Module, side: int) -> dict[str, float]:
        """Named figures over the validation split with a model in eval mode, the main one first.

        ``val_loss`` is the loss there, which decides between epochs with equal figures.
        """

    def measure(self, rule: Preprocessing, predict: Predict, groups: tuple[str, ...] | None = None) -> dict[str, float]:
        """Figures of ``evaluate`` for any predictor, without the loss; those of ``groups``, if each class has one."""
