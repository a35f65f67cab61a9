"""What a network answers: recognised by the shapes and values of its outputs for some pictures."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from app.add.options import Options
from app.add.plan import ClassifierEnd, Finding
from app.errors import StartupError

SLACK = 1e-3
"""How far a probability may lie outside of [0, 1], because float16 is not exact."""

Answers = Mapping[str, Sequence[NDArray[np.generic]]]
"""Output name -> what it was for each picture alone, (1, ...)."""


def recognise_classifier(
    answers: Answers, options: Options, num_labels: int | None
) -> tuple[ClassifierEnd, list[Finding]]:
    """The scores among the outputs; raises StartupError where none, or none of that many classes, can be them."""
    lines = {name: flat for name, values in answers.items() if (flat := _line(values)) is not None}
    fitting = {name: flat for name, flat in lines.items() if num_labels in {None, flat.shape[1]}}
    if lines and not fitting:
        counts = " or ".join(str(flat.shape[1]) for flat in lines.values())
        msg = f"there are {num_labels} labels, but the graph gives {counts} scores; the two must be as many"
        raise StartupError(msg)
    if len(fitting) != 1:
        msg = f"a classifier has one output of scores (N, C), this graph has {describe(answers)}"
        raise StartupError(msg)
    ((name, scores),) = fitting.items()
    softmax, text = activation(scores, options)
    num_classes = scores.shape[1]
    end = ClassifierEnd(name, num_classes, softmax)
    text += "; a softmax is added" if softmax else ""
    return end, [Finding("output", f"{name}, {num_classes} classes"), Finding("scores", text, "--scores")]


def activation(scores: NDArray[np.float32], options: Options) -> tuple[bool, str]:
    """Whether the scores (..., C) still need one, and why."""
    if options.scores is not None:
        return options.scores == "logits", f"{options.scores}, as --scores says"
    low, high = float(scores.min()), float(scores.max())
    if low < -SLACK or high > 1 + SLACK:
        return True, f"logits: they lie in {low:.3g}..{high:.3g}"
    if sums_to_one(scores):
        return False, "probabilities: they lie in 0..1 and sum to 1"
    return False, f"probabilities, each for itself: they lie in {low:.3g}..{high:.3g}"


def sums_to_one(scores: NDArray[np.float32]) -> bool:
    """Whether there are several classes and, for every picture and box, something has to be the case."""
    return scores.shape[-1] > 1 and bool(np.abs(scores.sum(axis=-1) - 1).max() < 10 * SLACK)


def describe(answers: Answers) -> str:
    """The outputs and their shapes for one picture, for people."""
    return ", ".join(f"{name} {values[0].dtype} {values[0].shape}" for name, values in answers.items())


def _line(values: Sequence[NDArray[np.generic]]) -> NDArray[np.float32] | None:
    """The output for all pictures, (P, C), where it is one number for each class."""
    shape = values[0].shape
    is_float = np.issubdtype(values[0].dtype, np.floating)
    if len(shape) < 2 or shape[0] != 1 or max(shape[1:]) != np.prod(shape[1:]) or not is_float:
        return None
    return np.concatenate([value.reshape(1, -1) for value in values]).astype(np.float32)
