"""A local network, run by the server's own steps: decode, preprocess, infer, postprocess."""

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from emo.evaluation.answers import Answer, of_result
from emo.evaluation.evaluated_model import Description, EvaluatedModel, parameters_for
from emo.evaluation.images import Encoded
from emo.export.predict import Predict
from emo_serve.errors import ServiceError
from emo_serve.manifest import Task
from emo_serve.prefetch import prefetch
from emo_serve.vision.classify import Groups, top_classes
from emo_serve.vision.detect import select_detections
from emo_serve.vision.image import ImageLimits, decode
from emo_serve.vision.preprocess import least_side, preprocess
from emo_serve.vision.results import ClassifyParameters, DetectParameters, Geometry
from emo_serve.vision.segment import segment

_BATCH: Mapping[Task, int] = MappingProxyType({"classify": 64, "detect": 1, "segment": 1})
_MOST_THREADS = 8


def local_model(description: Description, predict: Predict) -> EvaluatedModel:
    """The evaluated model whose network is ``predict``."""
    limits, rule = ImageLimits(), description.rule
    groups = Groups.of(description.groups) if description.groups else None

    def prepare(picture: Encoded) -> tuple[NDArray[np.uint8], Geometry]:
        try:
            return preprocess(decode(picture.data, limits, least_side(rule)), rule)
        except ServiceError as error:
            msg = f"{picture.key}: {error}"
            raise ValueError(msg) from error

    def predict_images(pictures: Iterable[Encoded]) -> Iterator[Answer]:
        ready = prefetch(prepare, pictures, min(os.cpu_count() or 1, _MOST_THREADS))
        while batch := list(islice(ready, _BATCH[description.task])):
            outputs = predict(np.stack([tensor for tensor, _ in batch]))
            for row, (_, geometry) in enumerate(batch):
                yield _answer(description, groups, [output[row] for output in outputs], geometry)

    return EvaluatedModel(description, predict_images)


def _answer(
    description: Description, groups: Groups | None, outputs: list[NDArray[np.float32]], geometry: Geometry
) -> Answer:
    """The answer in one picture's row of each output."""
    match parameters_for(description):
        case ClassifyParameters() as parameters:
            return of_result(top_classes(outputs[0], parameters, groups))
        case DetectParameters() as parameters:
            boxes, scores = outputs
            labels, defaults = description.labels, description.detection
            return of_result(select_detections(boxes, scores, geometry, parameters, defaults, labels))
    return of_result(segment(outputs[0], geometry, description.rule.height, description.rule.width))
