"""Shadows: another version computes copies of images that were answered, and only what both say is compared.

A copy begins after its answer was sent, and only if the process has cores to spare at that moment; else it is dropped.
So no copy waits, delays an answer or is in anybody's way in a queue, and whatever happens to it reaches no client. The
one thread that computes copies has a low priority, for images that come while it is at work.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from emo_serve.engine.execution.pipeline import default_parameters
from emo_serve.engine.host import lower_priority
from emo_serve.engine.registry.deployment import Deployment
from emo_serve.engine.scheduling.job import Job
from emo_serve.metrics.traffic import ShadowMetrics
from emo_serve.vision.compare import Comparison, compare
from emo_serve.vision.results import GraphOutputs, Prediction

logger = logging.getLogger(__name__)


class SpareThread:
    """The thread of a process that computes copies, one at a time; used from one event loop."""

    def __init__(self, has_room: Callable[[], bool]) -> None:
        """``has_room`` is true while the process has more cores than its images need."""
        self._has_room = has_room
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="shadow", initializer=lower_priority)
        self._loop = asyncio.get_running_loop()
        self._is_busy = False
        self._is_closed = False

    def try_run(self, work: Callable[[], Callable[[], None]]) -> bool:
        """Run ``work`` in the thread, and what it returns on the event loop; False if there is no room for it now."""
        if self._is_busy or self._is_closed or not self._has_room():
            return False
        self._threads.submit(self._run, work)
        self._is_busy = True
        return True

    def close(self) -> None:
        """Take no more; what is under way may end."""
        self._is_closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _run(self, work: Callable[[], Callable[[], None]]) -> None:
        done = work()
        with suppress(RuntimeError):  # the event loop has ended
            self._loop.call_soon_threadsafe(self._end, done)

    def _end(self, done: Callable[[], None]) -> None:
        self._is_busy = False
        done()


class Shadow:
    """The version that computes copies of the images of an alias's requests; used from one event loop."""

    def __init__(self, deployment: Deployment, share: float, thread: SpareThread, metrics: ShadowMetrics) -> None:
        """Copy this ``share`` of the images."""
        self._deployment = deployment
        self._share = share
        self._thread = thread
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()

    def of(self, answering: Deployment) -> Callable[[Job, Prediction], None] | None:
        """What takes the images that ``answering`` answers; None if that is the shadow itself."""
        return None if answering is self._deployment else partial(self._offer, answering)

    def _offer(self, answering: Deployment, job: Job, prediction: Prediction) -> None:
        """Copy the image or let it be. Raw pixels, which are for one version's input, and raw outputs are let be."""
        if not isinstance(job.upload, bytes) or isinstance(prediction.default_result, GraphOutputs):
            return
        if random.random() < self._share:  # noqa: S311  nothing is kept secret by it
            # When this iteration of the event loop ends, the answer of a single image is on its way.
            self._loop.call_soon(self._begin, answering, job, prediction)

    def _begin(self, answering: Deployment, job: Job, prediction: Prediction) -> None:
        if not self._thread.try_run(partial(self._compute, answering, job, prediction)):
            self._metrics.dropped.value += 1

    def _compute(self, answering: Deployment, job: Job, answered: Prediction) -> Callable[[], None]:
        """Compute and compare, in the thread; returns what counts that."""
        try:
            copied = self._deployment.compute(Job(job.upload, default_parameters(job.parameters)))
            found = compare(answered.default_result, answering.labels, copied.default_result, self._deployment.labels)
        except BaseException as error:  # noqa: BLE001  whatever a shadow does, it must not end the thread
            return partial(self._failed, error)
        return partial(self._compared, found, _seconds_of(answered), _seconds_of(copied))

    def _failed(self, error: BaseException) -> None:
        self._metrics.failed.value += 1
        manifest = self._deployment.manifest
        logger.warning("a shadow failed", extra={"model": manifest.name, "version": manifest.version}, exc_info=error)

    def _compared(self, found: Comparison, answered_seconds: float, shadow_seconds: float) -> None:
        self._metrics.compared(found.agreement, found.scores, (answered_seconds, shadow_seconds))


def _seconds_of(prediction: Prediction) -> float:
    """Seconds of the steps of an image, without those in which it waited."""
    stages = prediction.timings.stages
    return sum(stages[stage] for stage in ("decode", "preprocess", "infer", "postprocess"))
