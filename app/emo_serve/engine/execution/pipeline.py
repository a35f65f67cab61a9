"""The steps of one image: decode -> preprocess -> [the model] -> postprocess. When and where, executors decide."""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emo_serve.engine.execution.session import Run
from emo_serve.engine.execution.tasks import Task
from emo_serve.engine.scheduling.job import Job
from emo_serve.manifest import Preprocessing
from emo_serve.vision.image import ImageLimits, decode
from emo_serve.vision.preprocess import least_side, preprocess
from emo_serve.vision.results import (
    ClassifyParameters,
    DetectParameters,
    Geometry,
    GraphOutputs,
    GraphParameters,
    ImageSize,
    Parameters,
    Prediction,
    Result,
    Timings,
)


@dataclass(frozen=True, slots=True)
class Prepared:
    """An image ready for the model."""

    tensor: NDArray[np.uint8]  # (H, W, 3) of the manifest
    geometry: Geometry
    scale: int  # the picture was decoded at 1 / scale of its sides
    started_at: float  # time.perf_counter()
    decode_seconds: float
    preprocess_seconds: float


def prepare(upload: bytes, limits: ImageLimits, rule: Preprocessing, least_side: int | None = None) -> Prepared:
    """The model's input from an encoded image; raises UnsupportedMediaType, ImageTooLarge or ImageUndecodable.

    A ``least_side`` allows ``decode`` to give a fraction of the image. Both steps are one call, so that the full
    picture is freed when it ends.
    """
    started = time.perf_counter()
    picture = decode(upload, limits, least_side)
    decoded = time.perf_counter()
    tensor, geometry = preprocess(picture, rule)
    return Prepared(tensor, geometry, picture.scale, started, decoded - started, time.perf_counter() - decoded)


class Pipeline:
    """The steps of one model; pure, for any thread."""

    def __init__(self, rule: Preprocessing, limits: ImageLimits, task: Task) -> None:
        """Take images by this rule, within these limits, to what the task makes of the outputs."""
        self._rule = rule
        self._least_side = least_side(rule)
        self._limits = limits
        self._task = task

    @property
    def ends_quickly(self) -> bool:
        """True if ``finish`` is short enough for the event loop."""
        return self._task.is_quick

    def prepare(self, job: Job) -> Prepared:
        """The model's input; raises as the function ``prepare``. Pixels of the model's size stay as they are."""
        upload = job.upload
        if not isinstance(upload, bytes):
            geometry = Geometry(ImageSize(self._rule.width, self._rule.height), 1.0, 1.0)
            return Prepared(upload, geometry, 1, time.perf_counter(), 0.0, 0.0)
        return prepare(upload, self._limits, self._rule, None if job.parameters.full_decode else self._least_side)

    def finish(self, job: Job, prepared: Prepared, run: Run) -> Prediction:
        """The prediction, in pixels of the upright image; raises InvalidParameter."""
        computed = time.perf_counter()
        result = default_result = self._result(job.parameters, prepared, run)
        default = default_parameters(job.parameters)
        if default != job.parameters:
            default_result = self._result(default, prepared, run)
        ended = time.perf_counter()
        stages = {
            "decode": prepared.decode_seconds,
            "preprocess": prepared.preprocess_seconds,
            "queue": job.started_at - job.accepted_at + run.queue_seconds,
            "infer": run.infer_seconds,
            "postprocess": ended - computed,
            "total": ended - job.accepted_at,
        }
        starts = {
            "queue": job.accepted_at,
            "decode": prepared.started_at,
            "preprocess": prepared.started_at + prepared.decode_seconds,
            "infer": run.started_at,
            "postprocess": computed,
        }
        timings = Timings(stages, prepared.scale, starts, run.batch_size)
        return Prediction(prepared.geometry.image, result, default_result, timings)

    def _result(self, parameters: Parameters, prepared: Prepared, run: Run) -> Result:
        if isinstance(parameters, GraphParameters):
            return GraphOutputs(run.outputs)
        return self._task.postprocess(run.outputs, prepared.geometry, parameters)


def default_parameters(parameters: Parameters) -> Parameters:
    """Parameters for statistics and comparisons: without a client's choices, which say more about it than the image.

    Equal to ``parameters`` where these choose nothing; ``top_k`` does not change the best class.
    """
    match parameters:
        case ClassifyParameters():
            return ClassifyParameters(parameters.top_k, full_decode=parameters.full_decode)
        case DetectParameters():
            return DetectParameters(full_decode=parameters.full_decode)
    return parameters
