"""What differs between classification and detection."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from emo.evaluation.predict import Predict
from emo_serve.manifest import Preprocessing


class Task(Protocol):
    """A data set with its training pictures in memory, and what is to be learned from it."""

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each label."""

    @property
    def count(self) -> int:
        """How many training pictures there are."""

    @property
    def validation_count(self) -> int:
        """How many pictures it is measured with."""

    def order(self, generator: torch.Generator) -> Tensor:
        """The row numbers of an epoch's pictures."""

    def batches(self, rows: Sequence[Tensor], side: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Any]]:
        """For each batch of row numbers: normalised input (N, 3, side, side) and target."""

    def loss(self, model: nn.Module, inputs: Tensor, target: Any) -> Tensor:  # noqa: ANN401 - what ``batches`` gave
        """A scalar in float32, the mean over the batch."""

    def evaluate(self, model: nn.Module, side: int) -> dict[str, float]:
        """Named figures over the validation split with a model in eval mode, the one that counts first.

        ``val_loss`` is the loss there: of equal epochs the one is kept where it is lower.
        """

    def measure(self, rule: Preprocessing, predict: Predict, groups: tuple[str, ...] | None = None) -> dict[str, float]:
        """The same figures of anything that predicts, without the loss; of ``groups``, where each class has one."""
