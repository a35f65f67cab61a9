"""Recognition of the final activation: whether scores are probabilities already."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from emo_serve.errors import StartupError
from emo_serve.onnx_import.model_spec import Activation, ScoreKind
from emo_serve.onnx_import.origin import Origin

SLACK = 1e-3
"""Tolerance for probabilities outside of [0, 1], as float16 is not exact."""


@dataclass(frozen=True, slots=True)
class ScoreHints:
    """Facts about scores besides their values."""

    stated: ScoreKind | None
    """By the user, with --scores."""
    origin: Origin
    num_classes: int
    usual: Literal["softmax", "sigmoid"]
    """For logits."""
    has_background: bool = False
    """A background is among the classes, so that probabilities, or percents, would sum to a constant."""


def choose_activation(scores: NDArray[np.float32], hints: ScoreHints) -> tuple[Activation, str]:
    """The activation that turns scores (..., C) into probabilities, and why; raises StartupError if --scores is wrong.

    Values within 0..1 are not sufficient: logits may lie there for some pictures, too.
    """
    low, high = float(scores.min()), float(scores.max())
    lie = f"they lie in {low:.3g}..{high:.3g}"
    is_within = low >= -SLACK and high <= 1 + SLACK
    usual: Activation = "sigmoid" if hints.num_classes == 1 else hints.usual
    if hints.num_classes == 1 and hints.origin == "softmax" and low > 1 - SLACK:
        msg = "the softmax in the graph is over a single score, so it is always 1; export the graph without it"
        raise StartupError(msg)
    if hints.stated is not None:
        return _as_stated(hints, usual, scores)
    if not is_within and sums_to(scores, 100):
        return "percent", f"percents: {lie} and sum to 100; they are divided by 100"
    if is_within and (hints.origin in {"softmax", "sigmoid"} or sums_to(scores, 1)):
        text = "and sum to 1" if sums_to(scores, 1) else f"and come from a {hints.origin}"
        return None, f"probabilities: they lie in 0..1 {text}"
    if is_within and hints.origin in {None, "rescaled"}:
        return None, f"probabilities, each for itself: {lie}"
    if hints.origin == "rescaled" or (hints.origin is None and low >= -SLACK and not hints.has_background):
        what = "come from probabilities that the graph rescales" if hints.origin else "are never below 0"
        msg = (
            f"its scores may be percents or logits: {lie} and {what}; say --scores percent where 100 stands for "
            "certain, --scores softmax or sigmoid where they are logits, or export the graph with scores in 0..1"
        )
        raise StartupError(msg)
    why = f"they come straight from a layer without bounds, though {lie}" if is_within else lie
    return usual, f"logits: {why}; a {usual} is added"


def sums_to(scores: NDArray[np.float32], total: float) -> bool:
    """True if the scores (..., C) of several classes are shares of ``total``, for every picture and box."""
    off = np.abs(scores.sum(axis=-1) / total - 1).max()
    return scores.shape[-1] > 1 and bool(off < 10 * SLACK and scores.min() >= -SLACK * total)


def _as_stated(hints: ScoreHints, usual: Activation, scores: NDArray[np.float32]) -> tuple[Activation, str]:
    low, high = float(scores.min()), float(scores.max())
    text = f"{hints.stated}, as --scores says"
    match hints.stated:
        case "probabilities" | "none":
            remedy = usual if usual == "sigmoid" else "softmax, or sigmoid where several classes may hold"
            _check_bounds(hints, low, high, 1, "percent" if sums_to(scores, 100) else remedy or "")
            return None, text
        case "percent":
            _check_bounds(hints, low, high, 100, usual or "")
            return "percent", f"{text}; they are divided by 100"
        case "softmax" if hints.num_classes == 1:
            msg = "--scores softmax of a single score would always be 1; leave it out, or say --scores sigmoid"
            raise StartupError(msg)
        case "softmax" | "sigmoid" as activation:
            return activation, f"{text}; a {activation} is added"
    return usual, f"{text}; a {usual} is added"


def _check_bounds(hints: ScoreHints, low: float, high: float, most: float, remedy: str) -> None:
    """Raise StartupError where scores cannot be shares of ``most``."""
    if low < -SLACK * most or high > (1 + SLACK) * most:
        lie = f"they lie in {low:.3g}..{high:.3g}, outside of 0..{most:g}"
        msg = f"--scores {hints.stated} does not fit: {lie}; leave it out, or say --scores {remedy}"
        raise StartupError(msg)
