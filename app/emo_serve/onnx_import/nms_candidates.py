"""Search for the outputs, or columns, with the objects of a graph that contains non-maximum suppression."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from emo_serve.errors import StartupError
from emo_serve.onnx_import.activations import SLACK
from emo_serve.onnx_import.classifier_head import Answers
from emo_serve.onnx_import.model_spec import Columns, NmsOutputs
from emo_serve.onnx_import.options import Options

_CORNERS = 0.9  # of the boxes: those of an NMS head are nearly always given by corners


@dataclass(frozen=True, slots=True)
class NmsCandidates:
    """Objects in all pictures: boxes (K, 4), scores (K,), which are above 0, and classes (K,)."""

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    classes: NDArray[np.float64]


def find_candidates(
    answers: Answers, options: Options, num_labels: int | None, *, may_select: bool
) -> NmsOutputs | None:
    """The likeliest interpretation that the values allow; raises StartupError if an option has to decide.

    ``may_select``: the graph contains an operator that can produce such lists.
    """
    for lacks_batch in (False, True):
        candidates = [nms for nms in _candidates(answers, lacks_batch=lacks_batch) if _is_plausible(nms, answers)]
        if options.nms != "inside":
            candidates = [nms for nms in candidates if _is_list(nms, answers, num_labels, may_select=may_select)]
        if candidates:
            return _choose(candidates, answers, options)
    return None


def candidates_of(nms: NmsOutputs, answers: Answers) -> NmsCandidates:
    """The objects in the lists."""
    boxes, scores, classes = (_rows(columns, answers) for columns in (nms.boxes, nms.scores, nms.classes))
    counts = _lengths(scores) if nms.count is None else _numbers(answers[nms.count])
    is_object = [
        (values[:, 0] > 0) & (np.arange(len(values)) < count) for values, count in zip(scores, counts, strict=True)
    ]
    everything = [
        np.concatenate([values[mask] for values, mask in zip(rows, is_object, strict=True)])
        for rows in (boxes, scores, classes)
    ]
    return NmsCandidates(everything[0], everything[1][:, 0], everything[2][:, 0])


def longest(nms: NmsOutputs, answers: Answers) -> int:
    """Number of rows of the longest list, objects or not."""
    return max(_lengths(_rows(nms.scores, answers)))


def _rows(columns: Columns, answers: Answers) -> list[NDArray[np.float64]]:
    """The columns for each picture, (M, F)."""
    tables = (np.expand_dims(value, columns.missing)[0] for value in answers[columns.output])
    return [table[:, columns.first : columns.last].astype(np.float64) for table in tables]


def _lengths(rows: Sequence[NDArray[np.float64]]) -> list[int]:
    return [len(values) for values in rows]


def _numbers(values: Sequence[NDArray[np.generic]]) -> list[float]:
    return [float(value.item()) for value in values]


def _candidates(answers: Answers, *, lacks_batch: bool) -> Iterator[NmsOutputs]:
    """All interpretations that shapes and types allow, those with the usual order of columns first."""
    missing = (0,) if lacks_batch else ()
    tables = [name for name, values in answers.items() if _has_rank(values, 3 - lacks_batch, lacks_batch=lacks_batch)]
    lines = [name for name, values in answers.items() if _has_rank(values, 2 - lacks_batch, lacks_batch=lacks_batch)]
    single = {name: Columns(name, 0, 1, missing=(*missing, 2)) for name in lines}
    for name in filter(lambda name: _is_float(answers[name]), tables):
        widths = {value.shape[-1] for value in answers[name]}
        width = widths.pop() if len(widths) == 1 else 0
        columns = [Columns(name, column, column + 1, missing=missing) for column in range(width)]
        box = Columns(name, 0, 4, missing=missing)
        if width == 4:
            for scores, classes in permutations(lines, 2):
                if _is_float(answers[scores]):
                    yield NmsOutputs(box, single[scores], single[classes])
        elif width == 5:
            yield from (NmsOutputs(box, columns[4], classes) for classes in single.values())
        elif width == 6 and len(tables) == 1:
            yield NmsOutputs(box, columns[4], columns[5])
            yield NmsOutputs(box, columns[5], columns[4])
        elif width == 7 and lacks_batch:  # the first is the index of the picture
            box = Columns(name, 1, 5, missing=missing)
            yield NmsOutputs(box, columns[6], columns[5])
            yield NmsOutputs(box, columns[5], columns[6])


def _has_rank(values: Sequence[NDArray[np.generic]], rank: int, *, lacks_batch: bool) -> bool:
    return all(value.ndim == rank and (lacks_batch or value.shape[0] == 1) for value in values)


def _is_float(values: Sequence[NDArray[np.generic]]) -> bool:
    return np.issubdtype(values[0].dtype, np.floating)


def _is_plausible(nms: NmsOutputs, answers: Answers) -> bool:
    """True for equal numbers of boxes, scores and classes, scores in 0..1, and classes 0, 1, 2, ..."""
    boxes, scores, classes = (_rows(columns, answers) for columns in (nms.boxes, nms.scores, nms.classes))
    if not _lengths(boxes) == _lengths(scores) == _lengths(classes):
        return False
    everything = np.concatenate(scores)
    found = candidates_of(nms, answers).classes
    return bool(
        ((everything >= 0) & (everything <= 1 + SLACK)).all() and ((found >= 0) & (found == np.round(found))).all()
    )


def _is_list(nms: NmsOutputs, answers: Answers, num_labels: int | None, *, may_select: bool) -> bool:
    """True if the supposed classes are class numbers, not probabilities that float16 rounds to 0 and 1."""
    if not _is_float(answers[nms.classes.output]):
        return True
    objects = candidates_of(nms, answers)
    if not objects.scores.size:
        return may_select
    are_corners = bool((objects.boxes[:, 2:] >= objects.boxes[:, :2]).all(axis=1).mean() > _CORNERS)
    is_only_class = num_labels == 1 and bool((objects.classes == 1).all())
    return are_corners and may_select if is_only_class else are_corners or may_select


def _choose(candidates: list[NmsOutputs], answers: Answers, options: Options) -> NmsOutputs:
    """The interpretation that options, else names, types and values suggest."""
    given = (options.box_output, options.score_output, options.class_output)
    fitting = [nms for nms in candidates if all(map(_fits, given, nms.outputs))]
    hints = [_hints(nms, answers) for nms in fitting]
    likely = [nms for nms, count in zip(fitting, hints, strict=True) if count == max(hints)]
    if len({nms.outputs for nms in likely}) != 1:
        choices = "; ".join(", ".join(nms.outputs) for nms in candidates)
        msg = (
            "which outputs hold boxes, scores and classes? Say it with --box-output, --score-output and "
            f"--class-output; they may be {choices}"
        )
        raise StartupError(msg)
    return replace(likely[0], count=_count(likely[0], answers))


def _fits(given: str | None, output: str) -> bool:
    return given in {None, output}


def _hints(nms: NmsOutputs, answers: Answers) -> int:
    """Number of hints that support this interpretation."""
    words = (("box", "det", "loc"), ("score", "conf", "prob"), ("class", "label", "categ"))
    sounds = sum(
        any(word in output.lower() for word in wanted) for output, wanted in zip(nms.outputs, words, strict=True)
    )
    scores = candidates_of(nms, answers).scores
    has_fractions = bool((scores != np.round(scores)).any())
    return sounds + has_fractions + (not _is_float(answers[nms.classes.output]))


def _count(nms: NmsOutputs, answers: Answers) -> str | None:
    """The output with the number of objects that some exporters add to lists of a fixed length."""
    for name, values in answers.items():
        sounds = any(word in name.lower() for word in ("num", "count", "valid"))
        is_one = name not in nms.outputs and all(value.size == 1 for value in values)
        if sounds and is_one and all(count >= 0 and count.is_integer() for count in _numbers(values)):
            return name
    return None
