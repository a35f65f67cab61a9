"""Distillation options: a part of the recipe."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Distillation:
    """Parameters of distillation."""

    views: int = 1
    """Views of each picture for the teacher: the whole one, then random crops."""
    temperature: float = 1.0
    """Softens the probabilities of the teacher and the student."""
    label_weight: float = 0.5
    """Weight of a true label; the rest is the teacher's."""
