"""Training recipe: everything that determines the result besides the data and the initial weights."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from emo.models.anchors import SIZES
from emo.training.distillation.options import Distillation

Precision = Literal["float32", "bfloat16", "float16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True, slots=True)
class Recipe:
    """The parameters of a run; the same recipe, data and initial weights give the same model."""

    model: str
    schedule: tuple[tuple[int, int], ...]
    """(input side, epochs), one after the other; the last side is that of serving."""
    batch_size: int = 128
    """Total of all processes."""
    learning_rate: float = 2.5e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    """Share of all steps during which the rate rises linearly."""
    cooldown: float | None = None
    """Share of all steps, at the end, during which it falls to 0 along a cosine; None for all after the warm-up."""
    ema_decay: float = 0.999
    seed: int = 0
    anchor_sizes: tuple[int, ...] = SIZES
    """Anchor sizes of a detector, see ``emo.models.anchors``."""
    precision: Precision = "float32"
    """Precision of convolutions and matrix products in training; weights and evaluation are float32."""
    patience: int | None = None
    """Stop after this many epochs at the last side without improvement of the main figure; None for never."""
    balance: float = 0.0
    """0: every picture is seen equally often; 1: every class is."""
    epoch_pictures: int | None = None
    """Number of pictures in an epoch; None for as many as there are."""
    frozen_stages: int = 0
    """So many of the backbone's five stages, from the stem on, keep their initial weights and statistics."""
    close_mosaic: int = 0
    """Number of last epochs in which a detector sees single pictures, no mosaics (as in YOLOX, arXiv 2107.08430)."""
    distillation: Distillation | None = None
    """Parameters of distillation, if there is a teacher."""

    def sides(self) -> list[int]:
        """The input side of each epoch."""
        return [side for side, epochs in self.schedule for _ in range(epochs)]

    def rate(self, progress: float) -> float:
        """The learning rate after this share, in [0, 1], of all steps."""
        if progress < self.warmup:
            return self.learning_rate * progress / self.warmup
        falling = 1 - self.warmup if self.cooldown is None else self.cooldown
        fallen = max(0.0, progress - (1 - falling)) / falling
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * fallen))


def parse_sizes(text: str) -> tuple[int, ...]:
    """``48,100,150`` -> (48, 100, 150)."""
    return tuple(int(size) for size in text.split(","))


def parse_schedule(text: str) -> tuple[tuple[int, int], ...]:
    """``80x14,112x2`` -> 14 epochs at 80 px, then 2 at 112 px; raise ValueError for anything else."""
    try:
        phases = tuple((int(side), int(epochs)) for side, epochs in (part.split("x") for part in text.split(",")))
    except ValueError:
        phases = ()
    if not phases or any(side < 32 or epochs < 1 for side, epochs in phases):
        msg = f"schedule {text!r}: wants SIDExEPOCHS[,SIDExEPOCHS…] with sides of 32 or more, as in 80x14,112x2"
        raise ValueError(msg)
    return phases
