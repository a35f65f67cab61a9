"""A detector that has its own non-maximum suppression and answers with lists of what it found."""

import numpy as np

from emo_serve.errors import StartupError
from emo_serve.manifest import Preprocessing
from emo_serve.onnx_import.box_formats import recognise_boxes
from emo_serve.onnx_import.classifier_head import Answers
from emo_serve.onnx_import.labels import Labels
from emo_serve.onnx_import.model_spec import Finding, Lists, ListsEnd
from emo_serve.onnx_import.nms_candidates import Objects, longest, objects_of
from emo_serve.onnx_import.options import Options

_LEAST_KEPT = 300  # most networks keep 100, 200 or 300 at most, but a graph does not tell
_MOST_KEPT = 1000  # what a request can ask for


def recognise_lists(
    lists: Lists, answers: Answers, options: Options, labels: Labels, rule: Preprocessing
) -> tuple[ListsEnd, list[Finding]]:
    """The end of a graph with such lists; raises StartupError where classes have no label or too little was found."""
    if options.scores not in {None, "none", "probabilities"}:
        msg = f"--scores {options.scores} does not go with lists of what is left after non-maximum suppression"
        raise StartupError(msg + "; leave it out, or say --nms none if they are none")
    if options.background == "last":
        msg = "--background last does not go with lists; allowed are first (class 0 stands for no object) and none"
        raise StartupError(msg)
    if labels.count is None:
        msg = (
            "lists of what was found do not tell how many classes there are; name them with --labels, or say --nms "
            f"none if {' and '.join(dict.fromkeys(lists.outputs))} are no lists"
        )
        raise StartupError(msg)
    objects = objects_of(lists, answers)
    is_empty = not objects.scores.size
    if is_empty and None in {options.boxes, options.units}:
        msg = (
            "it finds nothing in the pictures it was tried on, so what its boxes mean cannot be seen; give it a photo "
            "of what it knows with --photo, or say --boxes and --units"
        )
        raise StartupError(msg)
    by_tensorflow = _is_tensorflow(lists, answers)
    counts_from_one = by_tensorflow or (lists.for_one_image and len(set(lists.outputs)) == 3)
    first_class, classes_text = _first_class(objects, options, labels.count, labels, usual=int(counts_from_one))
    box_format, box_findings = recognise_boxes(objects.boxes, options, rule, "yxyx" if by_tensorflow else None)
    end = ListsEnd(
        lists,
        anchors=min(max(longest(lists, answers), _LEAST_KEPT), _MOST_KEPT),
        box_format=box_format,
        classes=tuple(first_class + place for place in labels.kept or range(labels.count)),
        one_by_one=lists.for_one_image or is_empty,
    )
    where = f"boxes in {lists.boxes.output}, scores in {lists.scores.output}, classes in {lists.classes.output}"
    if len(set(lists.outputs)) == 1:
        where = f"all in {lists.boxes.output}: box, " + (
            "score, class" if lists.scores.first < lists.classes.first else "class, score"
        )
    counted = f", as many as {lists.count} says" if lists.count else ""
    text = (
        f"lists of what is left after non-maximum suppression inside: {where}{counted}; the best {end.anchors} are kept"
    )
    return end, [
        Finding("output", text, "--nms, --box-output, --score-output, --class-output"),
        Finding("classes", classes_text, "--background"),
        *box_findings,
    ]


def _is_tensorflow(lists: Lists, answers: Answers) -> bool:
    """Three outputs for a batch, in which even classes are float32."""
    is_float = np.issubdtype(answers[lists.classes.output][0].dtype, np.floating)
    return not lists.for_one_image and len(set(lists.outputs)) == 3 and is_float


def _first_class(objects: Objects, options: Options, count: int, labels: Labels, usual: int) -> tuple[int, str]:
    """What the network calls the first label, and why."""
    low, high = int(objects.classes.min(initial=count)), int(objects.classes.max(initial=0))
    if options.background is not None:
        first, reason = int(options.background == "first"), "as --background says"
    elif labels.background == "first":
        first, reason = 1, "because the background is the first line of the labels, which is left out"
    elif low == 0:
        first, reason = 0, "because class 0 is found"
    elif usual == 1 and high == count:
        first, reason = 1, f"because class {count} is found"
    else:
        first, reason = usual, f"as is usual {'for such lists' if usual else 'where nothing else is known'} (assumed)"
    if low < first or high >= first + count:
        msg = (
            f"classes {low} to {high} are found, but {count} labels are {first} to {first + count - 1}, {reason}. "
            "There must be a label for each class, in its order. --background first: class 0 stands for no object, and "
            "the labels begin with class 1; --background none: they begin with class 0"
        )
        raise StartupError(msg)
    return first, f"the first label is class {first}, {reason}"
