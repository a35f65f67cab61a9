"""Recognition of a classifier's head by the shapes and values of its outputs for some pictures."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from emo_serve.errors import StartupError
from emo_serve.onnx_import.activations import ScoreHints, choose_activation
from emo_serve.onnx_import.labels import Labels
from emo_serve.onnx_import.model_spec import ClassifierHead, Finding
from emo_serve.onnx_import.options import Options
from emo_serve.onnx_import.origin import Origin

Answers = Mapping[str, Sequence[NDArray[np.generic]]]
"""Output name -> its values for each picture as a single image, (1, ...)."""


def recognise_classifier(
    answers: Answers, origins: Mapping[str, Origin], options: Options, labels: Labels
) -> tuple[ClassifierHead, list[Finding]]:
    """The scores among the outputs; raises StartupError if none qualifies, or none has that many classes."""
    name, scores = _scores(answers, options, labels)
    wide = scores.shape[1]
    is_pair = wide == 1 and labels.count == 2
    hints = ScoreHints(options.scores, origins.get(name), wide, "softmax")
    activation, text = choose_activation(scores, hints)
    if activation == "softmax" and options.scores is None:
        text += ", for one class at a time (assumed: --scores sigmoid where several may hold)"
    head = ClassifierHead(name, 2 if is_pair else wide, activation, is_pair, labels.served)
    what = f"{name}, {wide} classes" if wide > 1 else f"{name}, one score"
    if is_pair:
        what += f", that of {labels.names[1] if labels.names else ''}; the other label gets the rest of 1"
    return head, [Finding("output", what, "--score-output"), Finding("scores", text, "--scores")]


def _scores(answers: Answers, options: Options, labels: Labels) -> tuple[str, NDArray[np.float32]]:
    """Name and values (P, C) of the output with the scores."""
    lines = {name: flat for name, values in answers.items() if (flat := _line(values)) is not None}
    choices = " or ".join(f"{name} ({flat.shape[1]} scores)" for name, flat in lines.items())
    if options.score_output is not None:
        if options.score_output not in lines:
            msg = f"--score-output {options.score_output} is no output of scores (N, C); there is {choices or 'none'}"
            raise StartupError(msg)
        lines = {options.score_output: lines[options.score_output]}
    if not lines:
        msg = f"a classifier has one output of scores (N, C), float; this graph has {describe(answers)}"
        raise StartupError(msg)
    fitting = {name: flat for name, flat in lines.items() if labels.count in _label_counts(flat.shape[1])}
    if not fitting:
        counts = " or ".join(str(flat.shape[1]) for flat in lines.values())
        msg = f"there are {labels.count} labels, but the graph gives {counts} scores; the two must be as many"
        raise StartupError(msg + labels.advice)
    if len(fitting) > 1:
        msg = f"which output holds the scores? Say it with --score-output; it may be {choices}"
        raise StartupError(msg)
    return next(iter(fitting.items()))


def _label_counts(scores: int) -> set[int | None]:
    """Possible numbers of labels; a single score may be that of the second of two classes."""
    return {None, 1, 2} if scores == 1 else {None, scores}


def describe(answers: Answers) -> str:
    """The outputs and their shapes for one picture, as text."""
    return ", ".join(f"{name} {values[0].dtype} {values[0].shape}" for name, values in answers.items()) or "none"


def _line(values: Sequence[NDArray[np.generic]]) -> NDArray[np.float32] | None:
    """The output for all pictures, (P, C), if it is one number for each class; otherwise None."""
    shapes = {value.shape for value in values}
    shape = (*values[0].shape, 1) if values[0].shape == (1,) else values[0].shape
    is_float = np.issubdtype(values[0].dtype, np.floating)
    if len(shapes) > 1 or len(shape) < 2 or shape[0] != 1 or max(shape[1:]) != np.prod(shape[1:]) or not is_float:
        return None
    return np.concatenate([value.reshape(1, -1) for value in values]).astype(np.float32)
