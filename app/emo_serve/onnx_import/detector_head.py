"""What a detector answers: boxes and scores, or one table of both, as YOLO networks have it; or lists of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from emo_serve.errors import StartupError
from emo_serve.manifest import Preprocessing
from emo_serve.onnx_import.activations import Asked, choose_activation
from emo_serve.onnx_import.background import Background, find_background
from emo_serve.onnx_import.box_formats import recognise_boxes
from emo_serve.onnx_import.classifier_head import Answers, describe
from emo_serve.onnx_import.graph import Network
from emo_serve.onnx_import.labels import Labels
from emo_serve.onnx_import.model_spec import BoxFormat, Columns, DetectorEnd, Finding, ListsEnd, Order
from emo_serve.onnx_import.nms_candidates import find_lists
from emo_serve.onnx_import.nms_head import recognise_lists
from emo_serve.onnx_import.options import Options
from emo_serve.onnx_import.origin import Origin

Table = NDArray[np.float32]
"""An output for all pictures, (P, A, F) once it is turned."""

_TABLES = "boxes (N, A, 4) and scores (N, A, C), or one table (N, 4 + C, A) or (N, A, 5 + C)"
_LISTS = (
    "lists of what is left after non-maximum suppression: boxes (N, M, 4), scores (N, M) and classes (N, M), or the "
    "same for one picture without the N, or one table (N, M, 6)"
)


@dataclass(frozen=True, slots=True)
class _Reading:
    """One way to understand the outputs."""

    words: str
    boxes: Columns
    scores: Columns
    objectness: Columns | None = None


def recognise_detector(
    network: Network,
    answers: Answers,
    options: Options,
    labels: Labels,
    rule: Preprocessing,
    strides: tuple[int, ...],
) -> tuple[DetectorEnd | ListsEnd, list[Finding]]:
    """Boxes and scores among the outputs; raises StartupError where there are none, or of another number of classes.

    The ``strides`` are those of YOLOX's raw head, or none where it is not that.
    """
    lists = None
    if options.nms != "none" and not strides:
        lists = find_lists(answers, options, labels.count, may_select=network.selects)
    if lists is not None:
        return recognise_lists(lists, answers, options, labels, rule)
    if options.nms == "inside" or options.class_output:
        msg = f"no outputs are lists of boxes, scores and classes: {describe(answers)}; allowed are {_LISTS}"
        raise StartupError(msg)
    tables = _tables(answers)
    readings = [reading for pair in permutations(tables, 2) for reading in _pairs(tables, *pair)]
    readings = readings or [reading for name in tables for reading in _singles(name, tables[name])]
    if strides:
        readings = [reading for reading in readings if reading.objectness is not None]
    if not readings:
        msg = f"a detector has {_TABLES}, or {_LISTS}; this graph has {describe(answers)}"
        raise StartupError(msg)
    fitting = [reading for reading in readings if labels.count in {None, *_label_counts(reading)}]
    if not fitting:
        counts = ", ".join(f"{_width(reading.scores)} ({reading.words})" for reading in readings)
        msg = f"there are {labels.count} labels, but the graph gives scores for {counts}; the two must be as many"
        told = replace(options, nms="inside")
        if options.nms is None and find_lists(answers, told, labels.count, may_select=network.selects) is not None:
            msg += ", unless they are lists of what is left after non-maximum suppression (--nms inside)"
        raise StartupError(msg + labels.advice)
    chosen = _chosen(fitting, options)
    return _finish(chosen, tables, _Known(options, labels, network.origins, rule, strides))


def _chosen(readings: list[_Reading], options: Options) -> _Reading:
    """The most usual reading; where several outputs may be the boxes or the scores, their names or the options tell."""
    outputs = sorted({reading.boxes.output for reading in readings})
    telling = [name for name in outputs if _sounds_like_boxes(name)]
    name = options.box_output or (telling or outputs)[0]
    if name not in outputs or (options.box_output is None and len(outputs) > 1 and len(telling) != 1):
        msg = f"which output holds the boxes? Say it with --box-output; it may be {' or '.join(outputs)}"
        raise StartupError(msg)
    readings = [reading for reading in readings if reading.boxes.output == name]
    scores = sorted({reading.scores.output for reading in readings})
    if (options.score_output or scores[0]) not in scores or (options.score_output is None and len(scores) > 1):
        msg = f"which output holds the scores of the boxes in {name}? Say it with --score-output; it may be "
        raise StartupError(msg + " or ".join(scores))
    return next(reading for reading in readings if reading.scores.output == (options.score_output or scores[0]))


def _tables(answers: Answers) -> dict[str, Table]:
    return {
        name: np.concatenate(values).astype(np.float32)
        for name, values in answers.items()
        if values[0].ndim == 3
        and {value.shape for value in values} == {(1, *values[0].shape[1:])}
        and np.issubdtype(values[0].dtype, np.floating)
    }


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


def _label_counts(reading: _Reading) -> set[int | None]:
    """As many labels as scores; one less where a score may stand for the background."""
    count = _width(reading.scores)
    return {count} if reading.boxes.output == reading.scores.output else {count, count - 1}


def _width(columns: Columns) -> int:
    return columns.last - columns.first


def _cut(tables: dict[str, Table], columns: Columns) -> Table:
    table = tables[columns.output]
    turned = table.transpose(0, 2, 1) if columns.transposed else table
    return turned[..., columns.first : columns.last]


@dataclass(frozen=True, slots=True)
class _Known:
    """What else than the outputs there is to judge them by."""

    options: Options
    labels: Labels
    origins: Mapping[str, Origin]
    rule: Preprocessing
    strides: tuple[int, ...]


def _finish(reading: _Reading, tables: dict[str, Table], known: _Known) -> tuple[DetectorEnd, list[Finding]]:
    boxes, scores = _cut(tables, reading.boxes), _cut(tables, reading.scores)
    unit_values, options = scores, known.options
    if reading.objectness is not None:
        unit_values = np.concatenate([scores, _cut(tables, reading.objectness)], axis=-1)
    background, background_finding = find_background(scores, options, known.labels)
    is_alone = reading.scores.output != reading.boxes.output
    asked = Asked(
        options.scores,
        known.origins.get(reading.scores.output) if is_alone else None,
        scores.shape[-1],
        "sigmoid" if background == "none" else "softmax",
    )
    activation, scores_text = choose_activation(unit_values, asked)
    if known.strides:
        cells = ", ".join(map(str, known.strides))
        text = f"YOLOX's raw head: offsets and logarithms of sizes in cells of {cells} pixels"
        box_format, box_findings = BoxFormat("cxcywh", normalised=False), [Finding("boxes", text, "--boxes")]
    else:
        # One table is how YOLO networks answer, and `pred_boxes` how DETR calls its boxes.
        usual: Order | None = None if is_alone and "pred_boxes" not in reading.boxes.output else "cxcywh"
        box_format, box_findings = recognise_boxes(boxes, options, known.rule, usual)
    end = DetectorEnd(
        reading.boxes,
        reading.scores,
        reading.objectness,
        anchors=boxes.shape[1],
        box_format=box_format,
        activation=activation,
        background=background,
        kept=_kept(known.labels, background, scores.shape[-1]),
        strides=known.strides,
    )
    return end, [
        Finding(
            "output",
            f"{reading.words}; {boxes.shape[1]} boxes, {end.num_classes} classes",
            "--nms, --box-output, --score-output",
        ),
        Finding("scores", scores_text, "--scores"),
        *background_finding,
        *box_findings,
    ]


def _kept(labels: Labels, background: Background, scores: int) -> tuple[int, ...] | None:
    """Places of the classes that are served, among the scores without a background."""
    if labels.kept is None or background == "none" or labels.count != scores:
        return labels.kept
    moved = tuple(place - (background == "first") for place in labels.kept)  # its own name was one that says nothing
    return None if len(moved) == scores - 1 else moved
