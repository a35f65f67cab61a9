"""Lists of what was found, of graphs with non-maximum suppression inside: which outputs, or columns, hold them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from emo_serve.errors import StartupError
from emo_serve.onnx_import.activations import SLACK
from emo_serve.onnx_import.classifier_head import Answers
from emo_serve.onnx_import.model_spec import Columns, Lists
from emo_serve.onnx_import.options import Options

_CORNERS = 0.9  # of the boxes of lists: they are nearly always given by corners


@dataclass(frozen=True, slots=True)
class Objects:
    """All that was found, in all pictures: (K, 4), (K,) and (K,); scores are above 0."""

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    classes: NDArray[np.float64]


def find_lists(answers: Answers, options: Options, num_labels: int | None, *, may_select: bool) -> Lists | None:
    """The likeliest of the readings that the values allow; raises StartupError where only an option can tell.

    A graph that ``may_select`` has an operator that lists of what was found come from.
    """
    for lacks_batch in (False, True):
        readings = [lists for lists in _readings(answers, lacks_batch=lacks_batch) if _is_plausible(lists, answers)]
        if options.nms != "inside":
            readings = [lists for lists in readings if _is_list(lists, answers, num_labels, may_select=may_select)]
        if readings:
            return _chosen(readings, answers, options)
    return None


def objects_of(lists: Lists, answers: Answers) -> Objects:
    """What the lists hold."""
    boxes, scores, classes = (_rows(columns, answers) for columns in (lists.boxes, lists.scores, lists.classes))
    counts = _lengths(scores) if lists.count is None else _numbers(answers[lists.count])
    kept = [(values[:, 0] > 0) & (np.arange(len(values)) < count) for values, count in zip(scores, counts, strict=True)]
    everything = [
        np.concatenate([values[mask] for values, mask in zip(rows, kept, strict=True)])
        for rows in (boxes, scores, classes)
    ]
    return Objects(everything[0], everything[1][:, 0], everything[2][:, 0])


def longest(lists: Lists, answers: Answers) -> int:
    """Rows of the longest list, objects or not."""
    return max(_lengths(_rows(lists.scores, answers)))


def _rows(columns: Columns, answers: Answers) -> list[NDArray[np.float64]]:
    """The columns for each picture, (M, F)."""
    tables = (np.expand_dims(value, columns.missing)[0] for value in answers[columns.output])
    return [table[:, columns.first : columns.last].astype(np.float64) for table in tables]


def _lengths(rows: Sequence[NDArray[np.float64]]) -> list[int]:
    return [len(values) for values in rows]


def _numbers(values: Sequence[NDArray[np.generic]]) -> list[float]:
    return [float(value.item()) for value in values]


def _readings(answers: Answers, *, lacks_batch: bool) -> Iterator[Lists]:
    """All that the shapes and types of the outputs allow, the usual order of columns first."""
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
                    yield Lists(box, single[scores], single[classes])
        elif width == 5:
            yield from (Lists(box, columns[4], classes) for classes in single.values())
        elif width == 6 and len(tables) == 1:
            yield Lists(box, columns[4], columns[5])
            yield Lists(box, columns[5], columns[4])
        elif width == 7 and lacks_batch:  # the first is the number of the picture
            box = Columns(name, 1, 5, missing=missing)
            yield Lists(box, columns[6], columns[5])
            yield Lists(box, columns[5], columns[6])


def _has_rank(values: Sequence[NDArray[np.generic]], rank: int, *, lacks_batch: bool) -> bool:
    return all(value.ndim == rank and (lacks_batch or value.shape[0] == 1) for value in values)


def _is_float(values: Sequence[NDArray[np.generic]]) -> bool:
    return np.issubdtype(values[0].dtype, np.floating)


def _is_plausible(lists: Lists, answers: Answers) -> bool:
    """As many boxes as scores and classes, scores in 0..1, classes 0, 1, 2, ..."""
    boxes, scores, classes = (_rows(columns, answers) for columns in (lists.boxes, lists.scores, lists.classes))
    if not _lengths(boxes) == _lengths(scores) == _lengths(classes):
        return False
    everything = np.concatenate(scores)
    found = objects_of(lists, answers).classes
    return bool(
        ((everything >= 0) & (everything <= 1 + SLACK)).all() and ((found >= 0) & (found == np.round(found))).all()
    )


def _is_list(lists: Lists, answers: Answers, num_labels: int | None, *, may_select: bool) -> bool:
    """Whether what passes for classes are such, and no probabilities that float16 rounds to 0 and 1."""
    if not _is_float(answers[lists.classes.output]):
        return True
    objects = objects_of(lists, answers)
    if not objects.scores.size:
        return may_select
    are_corners = bool((objects.boxes[:, 2:] >= objects.boxes[:, :2]).all(axis=1).mean() > _CORNERS)
    is_only_class = num_labels == 1 and bool((objects.classes == 1).all())
    return are_corners and may_select if is_only_class else are_corners or may_select


def _chosen(readings: list[Lists], answers: Answers, options: Options) -> Lists:
    """The one that the options, else names, types and values speak for."""
    given = (options.box_output, options.score_output, options.class_output)
    fitting = [lists for lists in readings if all(map(_fits, given, lists.outputs))]
    signs = [_signs(lists, answers) for lists in fitting]
    likely = [lists for lists, sign in zip(fitting, signs, strict=True) if sign == max(signs)]
    if len({lists.outputs for lists in likely}) != 1:
        choices = "; ".join(", ".join(lists.outputs) for lists in readings)
        msg = (
            "which outputs hold boxes, scores and classes? Say it with --box-output, --score-output and "
            f"--class-output; they may be {choices}"
        )
        raise StartupError(msg)
    return replace(likely[0], count=_count(likely[0], answers))


def _fits(given: str | None, output: str) -> bool:
    return given in {None, output}


def _signs(lists: Lists, answers: Answers) -> int:
    """How much speaks for it."""
    words = (("box", "det", "loc"), ("score", "conf", "prob"), ("class", "label", "categ"))
    sounds = sum(
        any(word in output.lower() for word in wanted) for output, wanted in zip(lists.outputs, words, strict=True)
    )
    scores = objects_of(lists, answers).scores
    has_fractions = bool((scores != np.round(scores)).any())
    return sounds + has_fractions + (not _is_float(answers[lists.classes.output]))


def _count(lists: Lists, answers: Answers) -> str | None:
    """The output with the number of objects that some exporters give beside lists of a fixed length."""
    for name, values in answers.items():
        sounds = any(word in name.lower() for word in ("num", "count", "valid"))
        is_one = name not in lists.outputs and all(value.size == 1 for value in values)
        if sounds and is_one and all(count >= 0 and count.is_integer() for count in _numbers(values)):
            return name
    return None
