"""Inline executor: one thread takes an image through all steps, from its bytes to its answer.

Where batches do not pay, a hand-over between threads costs more than it lets overlap, as every core is busy anyway.
"""

import asyncio
import time
from contextlib import suppress

from emo_serve.engine.execution.batcher import Batcher
from emo_serve.engine.execution.pipeline import Pipeline
from emo_serve.engine.execution.pixel_threads import internal_error
from emo_serve.engine.execution.session import Run, infer
from emo_serve.engine.host import lower_priority
from emo_serve.engine.scheduling.admission import Admission
from emo_serve.engine.scheduling.job import Job
from emo_serve.errors import ServiceError
from emo_serve.metrics.definitions import ModelMetrics
from emo_serve.vision.results import Prediction


class InlineExecutor:
    """Runs single images in the threads of one session's instances; used from one event loop."""

    def __init__(self, pipeline: Pipeline, batcher: Batcher, admission: Admission, metrics: ModelMetrics) -> None:
        """Share the instances with the ``batcher``, to which images go that are better off together."""
        self._pipeline = pipeline
        self._batcher = batcher
        self._instances = batcher.instances
        self._admission = admission
        self._costs = admission.costs
        self._queue = admission.queue
        self._ready = admission.queue.ready
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._at_work = 0

    @property
    def is_best(self) -> bool:
        """True if an image gains nothing from others: batches do not pay, none is waited for, none runs.

        An instance is idle then, or takes what is ready when it has ended its image.
        """
        if self._batcher.queue or self._costs.batches_pay:
            return False
        return self._at_work > 0 or not self._instances.idle.locked()

    async def run(self, job: Job) -> Prediction:
        """Answer one image that has its slot, all steps in one thread; once cancelled, no further step begins.

        To be called where it ``is_best``, in the same iteration of the event loop. Raises what the steps raise,
        ShuttingDown, ModelNotReady, DeadlineExceeded or InferenceFailed.
        """
        if not self._instances.alive:
            raise self._instances.ended_error()
        answer: asyncio.Future[Prediction] = self._loop.create_future()
        job.answer = answer
        self._instances.waiters.add(answer)
        self._ready.put(job)
        if not self._instances.idle.locked():
            await self._instances.idle.acquire()  # at once
            self._at_work += 1
            self._instances.threads.submit(self._work)
        try:
            return await answer
        finally:
            self._instances.waiters.discard(answer)

    # ---- in the threads --------------------------------------------------------------------------------------------

    def _work(self) -> None:
        """Take what is ready until there is nothing."""
        with suppress(RuntimeError):  # the event loop has ended, and nobody waits
            while (job := self._ready.take()) is not None:
                if not job.answer.done():  # done: its client left, or its deadline passed
                    self._answer(job)
            self._loop.call_soon_threadsafe(self._stopped)

    def _answer(self, job: Job) -> None:
        try:
            prediction = self._predict(job)
        except ServiceError as error:
            self._loop.call_soon_threadsafe(self._fail, job, error)
        except BaseException as error:  # noqa: BLE001  as in the pixel threads
            self._loop.call_soon_threadsafe(self._fail, job, internal_error(error))
        else:
            if prediction is not None:
                self._loop.call_soon_threadsafe(self._settle, job, prediction)

    def _predict(self, job: Job) -> Prediction | None:
        """Take one image through all steps; None if its answer is no longer awaited."""
        begun = time.perf_counter()
        self._admission.check_start(job)
        if self._costs.is_heavy:
            lower_priority()
        prepared = self._pipeline.prepare(job)
        if job.answer.done():
            return None
        computed = infer(self._instances.session, [prepared.tensor])
        run = Run(computed.outputs[0], begun - job.started_at, computed.started_at, computed.seconds)
        return self._pipeline.finish(job, prepared, run)

    # ---- on the event loop -----------------------------------------------------------------------------------------

    def _settle(self, job: Job, prediction: Prediction) -> None:
        seconds = prediction.timings.stages["infer"]
        self._metrics.ran(1, seconds, self._costs.ran(1, seconds))
        if not job.answer.done():
            self._queue.finish(job)
            job.answer.set_result(prediction)

    def _fail(self, job: Job, error: ServiceError) -> None:
        if not job.answer.done():
            job.answer.set_exception(error)

    def _stopped(self) -> None:
        if self._ready:  # put in when the thread had just looked
            with suppress(RuntimeError):  # the threads have ended, and nobody waits
                self._instances.threads.submit(self._work)
            return
        self._at_work -= 1
        self._instances.idle.release()
