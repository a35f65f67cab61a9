"""How a student learns from a teacher: the part of a recipe."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Distillation:
    """How a student learns from a teacher."""

    views: int = 1
    """Of each picture that the teacher is asked about: the whole one, then random crops."""
    temperature: float = 1.0
    """By which the teacher's probabilities are softened, and the student's too."""
    label_weight: float = 0.5
    """Of a true label; the rest is the teacher's."""
    balance: float = 0.0
    """0: every picture is seen equally often; 1: every class (of labels, or else of the teacher's first answer) is."""
    epoch_pictures: int | None = None
    """How many pictures an epoch has; None for as many as there are."""
