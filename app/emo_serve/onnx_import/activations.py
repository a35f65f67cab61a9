"""Recognition of the final activation: whether scores are probabilities already."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from emo_serve.errors import StartupError
from emo_serve.onnx_import.model_spec import Activation
from emo_serve.onnx_import.origin import Origin

SLACK = 1e-3
"""Tolerance for probabilities outside of [0, 1], as float16 is not exact."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What else is known of scores than their values."""

    told: Literal["probabilities", "none", "logits", "softmax", "sigmoid"] | None
    """By --scores."""
    origin: Origin
    classes: int
    usual: Literal["softmax", "sigmoid"]
    """For logits."""


def choose_activation(scores: NDArray[np.float32], asked: Asked) -> tuple[Activation, str]:
    """The activation that turns scores (..., C) into probabilities, and why; raises StartupError if --scores is wrong.

    Values within 0..1 are not sufficient: logits may lie there for some pictures, too.
    """
    low, high = float(scores.min()), float(scores.max())
    lie = f"they lie in {low:.3g}..{high:.3g}"
    is_within = low >= -SLACK and high <= 1 + SLACK
    usual: Activation = "sigmoid" if asked.classes == 1 else asked.usual
    if asked.told is not None:
        return _told(asked, usual, lie, is_within=is_within)
    if is_within and (asked.origin in {"softmax", "sigmoid"} or sums_to_one(scores)):
        text = "and sum to 1" if sums_to_one(scores) else f"and come from a {asked.origin}"
        return None, f"probabilities: they lie in 0..1 {text}"
    if is_within and asked.origin is None:
        return None, f"probabilities, each for itself: {lie}"
    why = f"they come straight from a layer without bounds, though {lie}" if is_within else lie
    return usual, f"logits: {why}; a {usual} is added"


def sums_to_one(scores: NDArray[np.float32]) -> bool:
    """Whether there are several classes and, for every picture and box, something has to be the case."""
    return scores.shape[-1] > 1 and bool(np.abs(scores.sum(axis=-1) - 1).max() < 10 * SLACK)


def _told(asked: Asked, usual: Activation, lie: str, *, is_within: bool) -> tuple[Activation, str]:
    text = f"{asked.told}, as --scores says"
    match asked.told:
        case "probabilities" | "none":
            if not is_within:
                mend = usual if usual == "sigmoid" else "softmax, or sigmoid where several classes may hold"
                msg = (
                    f"--scores {asked.told} does not fit: {lie}, outside of 0..1; leave it out, or say --scores {mend}"
                )
                raise StartupError(msg)
            return None, text
        case "softmax" if asked.classes == 1:
            msg = "--scores softmax of a single score would always be 1; leave it out, or say --scores sigmoid"
            raise StartupError(msg)
        case "softmax" | "sigmoid" as activation:
            return activation, f"{text}; a {activation} is added"
    return usual, f"{text}; a {usual} is added"
