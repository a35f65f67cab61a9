"""Recognition of the background score, which many detectors have before or after those of their classes."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from emo_serve.errors import StartupError
from emo_serve.onnx_import.activations import sums_to
from emo_serve.onnx_import.labels import Labels, is_missing
from emo_serve.onnx_import.model_spec import Finding
from emo_serve.onnx_import.options import Options

Background = Literal["none", "first", "last"]

_MOST = 0.8  # of the boxes: a class that is a sure object in so many of them is the background


def find_background(scores: NDArray[np.float32], options: Options, labels: Labels) -> tuple[Background, list[Finding]]:
    """Position of the background among the scores (P, A, C), by the number of labels, else by their values."""
    count = scores.shape[-1]
    best = scores.argmax(axis=-1)
    firsts, lasts = float((best == 0).mean()), float((best == count - 1).mean())
    if options.background is not None:
        if labels.count is not None and (options.background == "none") != (labels.count == count):
            mend = "leave it out" if labels.count == count else "the labels are those of all other scores"
            given = f"{labels.count} labels and {count} scores a box"
            msg = f"--background {options.background} does not go with {given}: {mend}"
            raise StartupError(msg)
        return options.background, [_finding(f"{options.background}, as --background says")]
    if labels.count == count - 1:
        place: Background = labels.background or ("first" if firsts >= lasts else "last")
        share = firsts if place == "first" else lasts
        return place, [_finding(f"the {place} score, the best of {share:.0%} of the boxes")]
    is_last = count > 1 and lasts >= _MOST and _is_sure(scores[..., -1])
    is_first = count > 1 and firsts >= _MOST and _is_sure(scores[..., 0])
    if labels.names is None and (sums_to(scores, 1) or sums_to(scores, 100)):
        place = "first" if firsts >= lasts else "last"
    elif is_last and (labels.names is None or is_missing(labels.names[-1])):
        place = "last"
    elif is_first and (labels.names is None or is_missing(labels.names[0])):
        place = "first"
    else:
        if is_first or is_last:
            position, share = ("first", firsts) if is_first else ("last", lasts)
            text = f"none, though the {position} score is the best of {share:.0%} of the boxes"
            return "none", [_finding(f"{text}: if that stands for no object, leave out its label")]
        return "none", []
    share = firsts if place == "first" else lasts
    return place, [_finding(f"the {place} score, the best of {share:.0%} of the boxes (assumed)")]


def _is_sure(scores: NDArray[np.float32]) -> bool:
    """True if, taken for a class, these scores would be an object in most boxes."""
    return float((scores > 0).mean()) >= _MOST and float(np.median(scores)) > 0.5


def _finding(text: str) -> Finding:
    return Finding("background", text, "--background")
