"""What a detector answers: two outputs, boxes and scores, or one table of both, as YOLO networks have it."""

from dataclasses import dataclass
from itertools import permutations, product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from app.add.ends import Answers, activation, describe, sums_to_one
from app.add.options import Options
from app.add.plan import Columns, DetectorEnd, Finding
from app.errors import StartupError

Table = NDArray[np.float32]
"""An output for all pictures, (P, A, F) once it is turned."""

_ORDERED = 0.99  # share of the boxes whose second corner is right of and below the first: xyxy
_NORMALISED = 2.0  # no coordinate of normalised boxes is larger, though some reach out of the picture
_HELP = (
    "export it before non-maximum suppression, with all its boxes (torchvision: the network without its postprocessing)"
)


@dataclass(frozen=True, slots=True)
class _Reading:
    """One way to understand the outputs."""

    words: str
    boxes: Columns
    scores: Columns
    objectness: Columns | None = None


def recognise_detector(answers: Answers, options: Options, num_labels: int | None) -> tuple[DetectorEnd, list[Finding]]:
    """Boxes and scores among the outputs; raises StartupError where there are none, or of another number of classes."""
    tables = _tables(answers)
    readings = [reading for pair in permutations(tables, 2) for reading in _pairs(tables, *pair)]
    readings = readings or [reading for name in tables for reading in _singles(name, tables[name])]
    if not readings:
        msg = (
            "a detector has boxes (N, A, 4) and scores (N, A, C), or one table (N, 4 + C, A) or (N, A, 5 + C); this "
            f"graph has {describe(answers)}"
        )
        raise StartupError(msg)
    fitting = [reading for reading in readings if num_labels in {None, *_label_counts(reading)}]
    if not fitting:
        counts = ", ".join(f"{_width(reading.scores)} ({reading.words})" for reading in readings)
        msg = f"there are {num_labels} labels, but the graph gives scores for {counts}; the two must be as many"
        raise StartupError(msg)
    return _finish(_chosen(fitting, options), tables, options, num_labels)


def _chosen(readings: list[_Reading], options: Options) -> _Reading:
    """The most usual reading; where each of two outputs may be the boxes, their names or the option tell."""
    outputs = sorted({reading.boxes.output for reading in readings})
    telling = [name for name in outputs if _sounds_like_boxes(name)]
    name = options.box_output or (telling or outputs)[0]
    if name not in outputs or (options.box_output is None and len(outputs) > 1 and len(telling) != 1):
        msg = f"which output holds the boxes? Say it with --box-output; it may be {' or '.join(outputs)}"
        raise StartupError(msg)
    return next(reading for reading in readings if reading.boxes.output == name)


def _tables(answers: Answers) -> dict[str, Table]:
    for name, values in answers.items():
        if len({value.shape for value in values}) > 1:
            msg = f"the shape of {name} depends on the picture, {values[0].shape} and {values[-1].shape}; {_HELP}"
            raise StartupError(msg)
    tables = {
        name: np.concatenate(values).astype(np.float32)
        for name, values in answers.items()
        if values[0].ndim == 3 and values[0].shape[0] == 1 and np.issubdtype(values[0].dtype, np.floating)
    }
    if not tables:
        msg = f"no output is a table of boxes, one row each, for a batch: {describe(answers)}; {_HELP}"
        raise StartupError(msg)
    for name, table in tables.items():
        if len(tables) == 1 and table.shape[2] == 6 and _is_whole(table[..., 5]) and table.shape[1] > 6:
            msg = f"{name} {table.shape} holds what is left after non-maximum suppression (box, score, class); {_HELP}"
            raise StartupError(msg)
    return tables


def _is_whole(values: NDArray[np.float32]) -> bool:
    return bool((values == np.round(values)).all())


def _sounds_like_boxes(name: str) -> bool:
    return any(word in name.lower() for word in ("box", "loc"))


def _pairs(tables: dict[str, Table], boxes: str, scores: str) -> list[_Reading]:
    readings = []
    for turned, scores_turned in product((False, True), repeat=2):
        anchors, sides = _shape(tables[boxes], transposed=turned)
        scored, classes = _shape(tables[scores], transposed=scores_turned)
        if sides == 4 and anchors == scored:
            words = f"boxes in {boxes}, scores in {scores}"
            found = Columns(boxes, 0, 4, turned), Columns(scores, 0, classes, scores_turned)
            readings.append(_Reading(words, *found))
    return readings


def _singles(name: str, table: Table) -> list[_Reading]:
    """The ways to read one table, the usual ones first: (N, 4 + C, A) and (N, A, 5 + C)."""
    readings = []
    for turned, objectness in ((True, 0), (False, 1), (False, 0), (True, 1)):
        anchors, wide = _shape(table, transposed=turned)
        if wide < 5 + objectness or wide > anchors:
            continue
        words = (
            f"{name} holds 4 coordinates, {'an objectness, ' * objectness}then the scores of each of {anchors} boxes"
        )
        boxes, scores = Columns(name, 0, 4, turned), Columns(name, 4 + objectness, wide, turned)
        readings.append(_Reading(words, boxes, scores, Columns(name, 4, 5, turned) if objectness else None))
    return readings


def _shape(table: Table, *, transposed: bool) -> tuple[int, int]:
    rows, columns = table.shape[1:]
    return (columns, rows) if transposed else (rows, columns)


def _label_counts(reading: _Reading) -> set[int]:
    """As many labels as scores; one less where a score may stand for the background."""
    count = _width(reading.scores)
    return {count} if reading.boxes.output == reading.scores.output else {count, count - 1}


def _width(columns: Columns) -> int:
    return columns.last - columns.first


def _cut(tables: dict[str, Table], columns: Columns) -> Table:
    table = tables[columns.output]
    turned = table.transpose(0, 2, 1) if columns.transposed else table
    return turned[..., columns.first : columns.last]


def _finish(
    reading: _Reading, tables: dict[str, Table], options: Options, num_labels: int | None
) -> tuple[DetectorEnd, list[Finding]]:
    boxes, scores = _cut(tables, reading.boxes), _cut(tables, reading.scores)
    unit_values = scores
    if reading.objectness is not None:
        unit_values = np.concatenate([scores, _cut(tables, reading.objectness)], axis=-1)
    is_logits, scores_text = activation(unit_values, options)
    background, background_finding = _background(scores, options, num_labels, is_logits=is_logits)
    kind: Literal["sigmoid", "softmax"] = "sigmoid" if background == "none" else "softmax"
    ordered = float(((boxes[..., 2] >= boxes[..., 0]) & (boxes[..., 3] >= boxes[..., 1])).mean())
    centred = options.boxes == "cxcywh" if options.boxes else ordered < _ORDERED
    largest = float(np.abs(boxes).max())
    normalised = options.units == "normalized" if options.units else largest <= _NORMALISED
    end = DetectorEnd(
        reading.boxes,
        reading.scores,
        reading.objectness,
        anchors=boxes.shape[1],
        centred=centred,
        normalised=normalised,
        activation=kind if is_logits else None,
        background=background,
    )
    boxes_text = f"{'cxcywh' if centred else 'xyxy'}: x1 <= x2 and y1 <= y2 would hold for {ordered:.0%}"
    units_text = f"{'normalized' if normalised else 'pixel'}: the largest number is {largest:.4g}"
    return end, [
        Finding("output", f"{reading.words}; {boxes.shape[1]} boxes, {end.num_classes} classes", "--box-output"),
        Finding("scores", scores_text + (f"; a {kind} is added" if is_logits else ""), "--scores"),
        *background_finding,
        Finding("boxes", f"{options.boxes}, as --boxes says" if options.boxes else boxes_text, "--boxes"),
        Finding("units", f"{options.units}, as --units says" if options.units else units_text, "--units"),
    ]


def _background(
    scores: Table, options: Options, num_labels: int | None, *, is_logits: bool
) -> tuple[Literal["none", "first", "last"], list[Finding]]:
    count = scores.shape[-1]
    is_there = num_labels == count - 1 or (num_labels is None and not is_logits and sums_to_one(scores))
    if options.background is not None:
        if num_labels is not None and (options.background == "none") != (num_labels == count):
            msg = f"--background {options.background} does not go with {num_labels} labels and {count} scores a box"
            raise StartupError(msg)
        return options.background, [
            Finding("background", f"{options.background}, as --background says", "--background")
        ]
    if not is_there:
        return "none", []
    best = scores.argmax(axis=-1)
    firsts, lasts = int((best == 0).sum()), int((best == count - 1).sum())
    place: Literal["first", "last"] = "first" if firsts >= lasts else "last"
    share = max(firsts, lasts) / best.size
    return place, [Finding("background", f"the {place} score, the best of {share:.0%} of the boxes", "--background")]
