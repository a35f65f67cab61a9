"""Recognition of a detector's head: boxes and scores, one table of both as in YOLO networks, or an NMS head."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from emo_serve.errors import StartupError
from emo_serve.manifest import Preprocessing
from emo_serve.onnx_import.activations import ScoreHints, choose_activation
from emo_serve.onnx_import.background import Background, find_background
from emo_serve.onnx_import.box_formats import recognise_boxes
from emo_serve.onnx_import.classifier_head import Answers, describe
from emo_serve.onnx_import.coco import COCO
from emo_serve.onnx_import.graph import Network
from emo_serve.onnx_import.labels import Labels
from emo_serve.onnx_import.model_spec import BoxFormat, Columns, DetectorHead, Finding, NmsHead, Order
from emo_serve.onnx_import.nms_candidates import find_candidates
from emo_serve.onnx_import.nms_head import recognise_nms_head
from emo_serve.onnx_import.options import Options
from emo_serve.onnx_import.origin import Origin

Table = NDArray[np.float32]
"""An output for all pictures, (P, A, F), or (P, F, A) before it is transposed."""

_TABLES = "boxes (N, A, 4) and scores (N, A, C), or one table (N, 4 + C, A) or (N, A, 5 + C)"
_LISTS = (
    "lists of what is left after non-maximum suppression: boxes (N, M, 4), scores (N, M) in 0..1 and classes (N, M), "
    "or the same for one picture without the N, or one table (N, M, 6)"
)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """One interpretation of the outputs."""

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
) -> tuple[DetectorHead | NmsHead, list[Finding]]:
    """Boxes and scores among the outputs; raises StartupError if there are none, or the number of classes is wrong.

    ``strides`` are those of YOLOX's raw head, empty for other networks.
    """
    nms = None
    if options.nms != "none" and not strides:
        nms = find_candidates(answers, options, labels.count, may_select=network.selects)
    if nms is not None:
        return recognise_nms_head(nms, answers, options, labels, rule)
    if options.nms == "inside" or options.class_output:
        msg = f"no outputs are lists of boxes, scores and classes: {describe(answers)}; allowed are {_LISTS}"
        raise StartupError(msg)
    tables = _tables(answers)
    candidates = [candidate for pair in permutations(tables, 2) for candidate in _from_pair(tables, *pair)]
    candidates = candidates or [candidate for name in tables for candidate in _from_table(name, tables[name])]
    if strides:
        candidates = [candidate for candidate in candidates if candidate.objectness is not None]
    if not candidates:
        msg = f"a detector has {_TABLES}, or {_LISTS}; this graph has {describe(answers)}"
        raise StartupError(msg)
    fitting = [candidate for candidate in candidates if labels.count in {None, *_label_counts(candidate)}]
    if not fitting:
        counts = ", ".join(f"{_width(candidate.scores)} ({candidate.words})" for candidate in candidates)
        msg = f"there are {labels.count} labels, but the graph gives scores for {counts}; the two must be as many"
        forced = replace(options, nms="inside")
        if (
            options.nms is None
            and find_candidates(answers, forced, labels.count, may_select=network.selects) is not None
        ):
            msg += ", unless they are lists of what is left after non-maximum suppression (--nms inside)"
        raise StartupError(msg + labels.advice)
    if labels.may_be_coco:  # a table of 84 or 85 columns has its 80 classes, however it is turned
        fitting.sort(key=lambda candidate: _width(candidate.scores) != len(COCO))
    chosen = _choose(fitting, options)
    if labels.count is None and not strides:
        _check_objectness(chosen, fitting)
    return _finish(chosen, tables, _Context(options, labels, network.origins, rule, strides))


def _choose(candidates: list[_Candidate], options: Options) -> _Candidate:
    """The most usual candidate; between outputs that may be boxes or scores, names or options decide."""
    outputs = sorted({candidate.boxes.output for candidate in candidates})
    telling = [name for name in outputs if _sounds_like_boxes(name)]
    name = options.box_output or (telling or outputs)[0]
    if name not in outputs or (options.box_output is None and len(outputs) > 1 and len(telling) != 1):
        msg = f"which output holds the boxes? Say it with --box-output; it may be {' or '.join(outputs)}"
        raise StartupError(msg)
    candidates = [candidate for candidate in candidates if candidate.boxes.output == name]
    scores = sorted({candidate.scores.output for candidate in candidates})
    if (options.score_output or scores[0]) not in scores or (options.score_output is None and len(scores) > 1):
        msg = f"which output holds the scores of the boxes in {name}? Say it with --score-output; it may be "
        raise StartupError(msg + " or ".join(scores))
    return next(candidate for candidate in candidates if candidate.scores.output == (options.score_output or scores[0]))


def _check_objectness(chosen: _Candidate, candidates: list[_Candidate]) -> None:
    """Raise StartupError if a column of (N, A, 5 + C) may be a class as well, unless C is the number of COCO's."""
    rivals = [one for one in candidates if one.boxes == chosen.boxes and one.objectness is None]
    if chosen.objectness is not None and rivals and _width(chosen.scores) != len(COCO):
        classes = _width(chosen.scores)
        msg = (
            f"{chosen.boxes.output} holds 4 coordinates, then an objectness and {classes} classes, or {classes + 1} "
            "classes and no objectness; the number of labels tells which: give them with --labels"
        )
        raise StartupError(msg)


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


def _from_pair(tables: dict[str, Table], boxes: str, scores: str) -> list[_Candidate]:
    candidates = []
    for turned, scores_turned in product((False, True), repeat=2):
        anchors, sides = _shape(tables[boxes], transposed=turned)
        scored, classes = _shape(tables[scores], transposed=scores_turned)
        if sides == 4 and anchors == scored:
            words = f"boxes in {boxes}, scores in {scores}"
            found = Columns(boxes, 0, 4, turned), Columns(scores, 0, classes, scores_turned)
            candidates.append(_Candidate(words, *found))
    return candidates


def _from_table(name: str, table: Table) -> list[_Candidate]:
    """Interpretations of one table, the usual ones first: (N, 4 + C, A) and (N, A, 5 + C)."""
    candidates = []
    for turned, objectness in ((True, 0), (False, 1), (False, 0), (True, 1)):
        anchors, wide = _shape(table, transposed=turned)
        if wide < 5 + objectness or wide > anchors:
            continue
        words = (
            f"{name} holds 4 coordinates, {'an objectness, ' * objectness}then the scores of each of {anchors} boxes"
        )
        boxes, scores = Columns(name, 0, 4, turned), Columns(name, 4 + objectness, wide, turned)
        candidates.append(_Candidate(words, boxes, scores, Columns(name, 4, 5, turned) if objectness else None))
    return candidates


def _shape(table: Table, *, transposed: bool) -> tuple[int, int]:
    rows, columns = table.shape[1:]
    return (columns, rows) if transposed else (rows, columns)


def _label_counts(candidate: _Candidate) -> set[int | None]:
    """Possible numbers of labels: that of the scores, or one less if there may be a background score."""
    count = _width(candidate.scores)
    return {count} if candidate.boxes.output == candidate.scores.output else {count, count - 1}


def _width(columns: Columns) -> int:
    return columns.last - columns.first


def _cut(tables: dict[str, Table], columns: Columns) -> Table:
    table = tables[columns.output]
    turned = table.transpose(0, 2, 1) if columns.transposed else table
    return turned[..., columns.first : columns.last]


@dataclass(frozen=True, slots=True)
class _Context:
    """Information besides the outputs for recognising the head."""

    options: Options
    labels: Labels
    origins: Mapping[str, Origin]
    rule: Preprocessing
    strides: tuple[int, ...]


def _finish(candidate: _Candidate, tables: dict[str, Table], known: _Context) -> tuple[DetectorHead, list[Finding]]:
    boxes, scores = _cut(tables, candidate.boxes), _cut(tables, candidate.scores)
    unit_values, options = scores, known.options
    if candidate.objectness is not None:
        unit_values = np.concatenate([scores, _cut(tables, candidate.objectness)], axis=-1)
    background, background_finding = find_background(scores, options, known.labels)
    is_alone = candidate.scores.output != candidate.boxes.output
    hints = ScoreHints(
        options.scores,
        known.origins.get(candidate.scores.output) if is_alone else None,
        scores.shape[-1],
        "sigmoid" if background == "none" else "softmax",
        has_background=background != "none",
    )
    activation, scores_text = choose_activation(unit_values, hints)
    if activation == "percent" and candidate.objectness is not None:
        msg = "percents do not go with an objectness; export the graph with scores in 0..1"
        raise StartupError(msg)
    if known.strides:
        cells = ", ".join(map(str, known.strides))
        text = f"YOLOX's raw head: offsets and logarithms of sizes in cells of {cells} pixels"
        box_format, box_findings = BoxFormat("cxcywh", normalised=False), [Finding("boxes", text, "--boxes")]
    else:
        # YOLO networks have one table, and DETR calls its boxes `pred_boxes`.
        usual: Order | None = None if is_alone and "pred_boxes" not in candidate.boxes.output else "cxcywh"
        box_format, box_findings = recognise_boxes(boxes, options, known.rule, usual)
    head = DetectorHead(
        candidate.boxes,
        candidate.scores,
        candidate.objectness,
        anchors=boxes.shape[1],
        box_format=box_format,
        activation=activation,
        background=background,
        served=_served_classes(known.labels, background, scores.shape[-1]),
        strides=known.strides,
    )
    return head, [
        Finding(
            "output",
            f"{candidate.words}; {boxes.shape[1]} boxes, {head.num_classes} classes",
            "--nms, --box-output, --score-output",
        ),
        Finding("scores", scores_text, "--scores"),
        *background_finding,
        *box_findings,
    ]


def _served_classes(labels: Labels, background: Background, scores: int) -> tuple[int, ...] | None:
    """Indices of the served classes, among the scores without a background."""
    if labels.served is None or background == "none" or labels.count != scores:
        return labels.served
    moved = tuple(place - (background == "first") for place in labels.served)  # its own label was missing
    return None if len(moved) == scores - 1 else moved
