"""Recognition of an NMS head: a detector with its own non-maximum suppression, which returns lists of objects."""

import numpy as np

from emo_serve.errors import StartupError
from emo_serve.manifest import Preprocessing
from emo_serve.onnx_import.box_formats import recognise_boxes
from emo_serve.onnx_import.classifier_head import Answers
from emo_serve.onnx_import.labels import Labels
from emo_serve.onnx_import.model_spec import Finding, NmsHead, NmsOutputs
from emo_serve.onnx_import.nms_candidates import NmsCandidates, candidates_of, longest
from emo_serve.onnx_import.options import Options

_LEAST_KEPT = 300  # most networks keep at most 100, 200 or 300, but the graph does not tell
_MOST_KEPT = 1000  # the limit of a request


def recognise_nms_head(
    nms: NmsOutputs, answers: Answers, options: Options, labels: Labels, rule: Preprocessing
) -> tuple[NmsHead, list[Finding]]:
    """The head; raises StartupError if classes have no label or too little was detected."""
    if options.scores not in {None, "none", "probabilities"}:
        msg = f"--scores {options.scores} does not go with lists of what is left after non-maximum suppression"
        raise StartupError(msg + "; leave it out, or say --nms none if they are none")
    if options.background == "last":
        msg = "--background last does not go with lists; allowed are first (class 0 stands for no object) and none"
        raise StartupError(msg)
    if labels.count is None:
        msg = (
            "lists of what was found do not tell how many classes there are; name them with --labels, or say --nms "
            f"none if {' and '.join(dict.fromkeys(nms.outputs))} are no lists"
        )
        raise StartupError(msg)
    objects = candidates_of(nms, answers)
    is_empty = not objects.scores.size
    if is_empty and None in {options.boxes, options.units}:
        msg = (
            "it finds nothing in the pictures it was tried on, so what its boxes mean cannot be seen; give it a photo "
            "of what it knows with --photo, or say --boxes and --units"
        )
        raise StartupError(msg)
    by_tensorflow = _is_tensorflow(nms, answers)
    counts_from_one = by_tensorflow or (nms.for_one_image and len(set(nms.outputs)) == 3)
    first_class, classes_text = _first_class(objects, options, labels.count, labels, usual=int(counts_from_one))
    box_format, box_findings = recognise_boxes(objects.boxes, options, rule, "yxyx" if by_tensorflow else None)
    head = NmsHead(
        nms,
        anchors=min(max(longest(nms, answers), _LEAST_KEPT), _MOST_KEPT),
        box_format=box_format,
        classes=tuple(first_class + place for place in labels.served or range(labels.count)),
        one_by_one=nms.for_one_image or is_empty,
    )
    where = f"boxes in {nms.boxes.output}, scores in {nms.scores.output}, classes in {nms.classes.output}"
    if len(set(nms.outputs)) == 1:
        where = f"all in {nms.boxes.output}: box, " + (
            "score, class" if nms.scores.first < nms.classes.first else "class, score"
        )
    counted = f", as many as {nms.count} says" if nms.count else ""
    text = (
        f"lists of what is left after non-maximum suppression inside: {where}{counted}; "
        f"the best {head.anchors} are kept"
    )
    return head, [
        Finding("output", text, "--nms, --box-output, --score-output, --class-output"),
        Finding("classes", classes_text, "--background"),
        *box_findings,
    ]


def _is_tensorflow(nms: NmsOutputs, answers: Answers) -> bool:
    """True for three outputs with a batch axis in which even classes are float32."""
    is_float = np.issubdtype(answers[nms.classes.output][0].dtype, np.floating)
    return not nms.for_one_image and len(set(nms.outputs)) == 3 and is_float


def _first_class(objects: NmsCandidates, options: Options, count: int, labels: Labels, usual: int) -> tuple[int, str]:
    """The network's number of the first label, and why."""
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
        first, reason = usual, f"as is usual {'for such nms' if usual else 'where nothing else is known'} (assumed)"
    if low < first or high >= first + count:
        msg = (
            f"classes {low} to {high} are found, but {count} labels are {first} to {first + count - 1}, {reason}. "
            "There must be a label for each class, in its order. --background first: class 0 stands for no object, and "
            "the labels begin with class 1; --background none: they begin with class 0"
        )
        raise StartupError(msg)
    return first, f"the first label is class {first}, {reason}"
