"""One image's way through the server: decode -> preprocess -> batch -> postprocess.

On an accelerator each step has its own threads, so that images meet in batches; where batches do not pay, one thread
takes an image through all of them.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from emo_serve.engine.execution.batcher import Batcher
from emo_serve.engine.execution.inline import Answer
from emo_serve.engine.execution.pixel_threads import PixelWorkers
from emo_serve.engine.execution.tasks import Parameters, Result, Task
from emo_serve.engine.scheduling.ready_queue import Turn
from emo_serve.manifest import Preprocessing
from emo_serve.vision.image import ImageLimits, decode
from emo_serve.vision.preprocess import least_side, preprocess
from emo_serve.vision.results import Geometry, ImageSize, Timings


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer about one image, and where its time went."""

    image: ImageSize
    result: Result
    timings: Timings


@dataclass(frozen=True, slots=True)
class Prepared:
    """An image ready for the model."""

    tensor: NDArray[np.uint8]  # (H, W, 3) of the manifest
    geometry: Geometry
    scale: int  # the picture was decoded at 1 / scale of its sides
    decode_seconds: float
    preprocess_seconds: float


def prepare(upload: bytes, limits: ImageLimits, rule: Preprocessing, least_side: int | None = None) -> Prepared:
    """The model's input from an encoded image; raises UnsupportedMediaType, ImageTooLarge or ImageUndecodable.

    A ``least_side`` allows ``decode`` to give a fraction of the image. Both steps share one visit to a thread, so that
    the full picture is gone when it ends.
    """
    started = time.perf_counter()
    picture = decode(upload, limits, least_side)
    decoded = time.perf_counter()
    tensor, geometry = preprocess(picture, rule)
    return Prepared(tensor, geometry, picture.scale, decoded - started, time.perf_counter() - decoded)


@dataclass(frozen=True, slots=True)
class Stay:
    """An image's time in its slot."""

    turn: Turn
    waited: float
    """Seconds before it, which count as time in the queue."""
    begin: Callable[[], None]
    """Called in the thread that works on the image, before it does; what it raises is the image's end."""
    end: Callable[[], None]
    """Called as soon as the cores are free for the next image, before the answer is given."""


class Pipeline:
    """The steps of one model."""

    def __init__(
        self, rule: Preprocessing, limits: ImageLimits, task: Task, workers: PixelWorkers, batcher: Batcher
    ) -> None:
        """Join the steps; they are owned, and closed, elsewhere."""
        self._rule = rule
        self._least_side = least_side(rule)
        self._limits = limits
        self._task = task
        self._workers = workers
        self._batcher = batcher

    async def predict(
        self,
        upload: bytes,
        parameters: Parameters,
        deadline: float | None,
        stay: Stay,
    ) -> Prediction:
        """Answer one encoded image that has its slot.

        Raises what ``stay.begin`` raises, InvalidRequest, Unavailable, DeadlineExceeded or InferenceFailed. It can be
        cancelled at every step; a step that has not begun by then never does.
        """
        started = time.perf_counter()
        least_side = None if parameters.full_decode else self._least_side
        finish = partial(self._finish, parameters, started, stay.waited)

        def ready() -> Prepared:
            stay.begin()
            return prepare(upload, self._limits, self._rule, least_side)

        if self._batcher.lets_alone:
            return await self._batcher.run_alone(ready, finish, stay.end, stay.turn)
        prepared = await self._workers.run(ready)
        answer = await self._batcher.submit(prepared.tensor, deadline)  # this image's rows of the batch
        stay.end()
        if self._task.is_quick:
            return finish(prepared, answer)
        return await self._workers.run_first(finish, prepared, answer)

    def _finish(
        self, parameters: Parameters, started: float, waited: float, prepared: Prepared, answer: Answer
    ) -> Prediction:
        computed = time.perf_counter()
        result = self._task.postprocess(answer.outputs, prepared.geometry, parameters)  # in the shown image's pixels
        ended = time.perf_counter()
        timings = Timings(
            decode=prepared.decode_seconds,
            preprocess=prepared.preprocess_seconds,
            queue=waited + answer.queue_seconds,
            infer=answer.infer_seconds,
            postprocess=ended - computed,
            total=waited + ended - started,
            scale=prepared.scale,
        )
        return Prediction(prepared.geometry.image, result, timings)
