"""Options of the command line -> what a model is asked; the same names and limits as in requests."""

import argparse
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from emo_serve.api.wire.schemas import ClassifyQuery, DetectQuery, SegmentQuery
from emo_serve.errors import InvalidParameter
from emo_serve.faults import in_plain_words
from emo_serve.labels import class_names
from emo_serve.manifest import Task
from emo_serve.vision.results import ClassifyParameters, DetectParameters, Parameters, SegmentParameters

Q = TypeVar("Q", bound=BaseModel)
_CLASSIFY = ("top_k", "score_threshold")
_DETECT = ("score_threshold", "iou_threshold", "max_detections", "class_agnostic", "classes")
_NAMES = tuple(dict.fromkeys((*_CLASSIFY, *_DETECT)))


def parameters_of(options: argparse.Namespace, task: Task, labels: tuple[str, ...]) -> Parameters:
    """The parameters for a model of this task; raises InvalidParameter for values and options that do not fit it."""
    given = _given(options, task)
    if task == "classify":
        classify = _checked(ClassifyQuery, given)
        return ClassifyParameters(classify.top_k, classify.score_threshold)
    if task == "detect":
        detect = _checked(DetectQuery, given)
        return DetectParameters(
            detect.score_threshold,
            detect.iou_threshold,
            detect.max_detections,
            class_names(detect.classes, labels),
            detect.class_agnostic,
        )
    _checked(SegmentQuery, given)
    return SegmentParameters()


def query_of(options: argparse.Namespace, task: Task) -> dict[str, Any]:
    """The same as query parameters of a request, save that the names of classes are left to the server to check."""
    given = _given(options, task)
    queries: dict[Task, type[BaseModel]] = {"classify": ClassifyQuery, "detect": DetectQuery, "segment": SegmentQuery}
    _checked(queries[task], given)
    name, _, version = (options.model or "").partition("@")
    return {**given, **({"model": name} if name else {}), **({"version": version} if version else {})}


def _given(options: argparse.Namespace, task: Task) -> dict[str, Any]:
    given = {name: value for name in _NAMES if (value := getattr(options, name)) is not None}
    allowed = {"classify": _CLASSIFY, "detect": _DETECT, "segment": ()}[task]
    if strange := [name for name in given if name not in allowed]:
        there_are = f"there are: {', '.join(map(_flag, allowed))}" if allowed else "there are none"
        msg = f"{_flag(strange[0])} is no option of a model for {task}; {there_are}"
        raise InvalidParameter(msg)
    return given


def _checked(model: type[Q], given: dict[str, Any]) -> Q:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        msg = f"{_flag(str(first['loc'][0]))} {first['input']}: {in_plain_words(first['msg'])}"
        raise InvalidParameter(msg) from error


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
