"""Batched executor: each step has its own threads, so that some images are decoded while others are computed."""

from emo_serve.engine.execution.batcher import Batcher
from emo_serve.engine.execution.pipeline import Pipeline, Prepared
from emo_serve.engine.execution.pixel_threads import PixelThreads, guarded
from emo_serve.engine.scheduling.admission import Admission
from emo_serve.engine.scheduling.job import Job
from emo_serve.vision.results import Prediction


class BatchExecutor:
    """Takes images through the pixel threads, the batcher and the pixel threads again; used from one event loop."""

    def __init__(self, pipeline: Pipeline, threads: PixelThreads, batcher: Batcher, admission: Admission) -> None:
        """The parts are owned, and closed, by the caller."""
        self._pipeline = pipeline
        self._threads = threads
        self._batcher = batcher
        self._admission = admission

    async def run(self, job: Job) -> Prediction:
        """Answer one image that has its slot; cancelled, a step that has not begun never does.

        Raises what the steps raise, ShuttingDown, ModelNotReady, DeadlineExceeded or InferenceFailed.
        """
        prepared = await self._threads.run(self._prepare, job)
        run = await self._batcher.submit(prepared.tensor, job.deadline)
        self._admission.queue.finish(job)
        if self._pipeline.ends_quickly:
            return guarded(self._pipeline.finish, job, prepared, run)
        return await self._threads.run_first(self._pipeline.finish, job, prepared, run)

    def _prepare(self, job: Job) -> Prepared:
        self._admission.check_start(job)
        return self._pipeline.prepare(job)
