"""One served model: its session, scheduler and executors, from the self-test to the drain."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TypeVar, TypeVarTuple

from emo_serve.engine.execution.batched import BatchExecutor
from emo_serve.engine.execution.batcher import Batcher
from emo_serve.engine.execution.inline import InlineExecutor
from emo_serve.engine.execution.instances import Instances
from emo_serve.engine.execution.pipeline import Pipeline
from emo_serve.engine.execution.pixel_threads import PixelThreads
from emo_serve.engine.execution.prediction_stats import prediction_stats
from emo_serve.engine.execution.session import OpenSession, Run, Session, infer, open_session
from emo_serve.engine.execution.tasks import task_for
from emo_serve.engine.host import usable_cores
from emo_serve.engine.registry.load_thread import LoadThread
from emo_serve.engine.registry.self_test import self_test
from emo_serve.engine.repository.artefacts import Artefact
from emo_serve.engine.scheduling.admission import Admission
from emo_serve.engine.scheduling.cost_model import NOTHING_MEASURED, CostModel
from emo_serve.engine.scheduling.deadlines import Deadlines
from emo_serve.engine.scheduling.fair_queue import FairQueue
from emo_serve.engine.scheduling.job import Job, Ticket
from emo_serve.errors import (
    DeadlineExceeded,
    InferenceFailed,
    InvalidRequest,
    ModelNotReady,
    Overloaded,
    QueueFull,
    ServiceError,
    ShuttingDown,
    Unavailable,
)
from emo_serve.manifest import Manifest
from emo_serve.metrics.definitions import Metrics, ModelMetrics, Queue, Reason
from emo_serve.settings import Settings
from emo_serve.vision.draw import PictureType, draw_result, encode_class_map, encode_masks
from emo_serve.vision.image import ImageLimits
from emo_serve.vision.results import Prediction, Result, Segmentation

logger = logging.getLogger(__name__)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_REASONS: dict[type[Unavailable], Reason] = {
    QueueFull: "queue_full",
    Overloaded: "deadline",
    ModelNotReady: "not_ready",
    ShuttingDown: "shutting_down",
}


def image_limits(settings: Settings) -> ImageLimits:
    """The limits that every uploaded image has to keep."""
    return ImageLimits(settings.max_image_bytes, settings.max_image_pixels, settings.max_image_scans)


class Deployment:
    """One version of one model, being served."""

    def __init__(
        self,
        artefact: Artefact,
        session: Session,
        settings: Settings,
        metrics: Metrics,
        pixel_threads: PixelThreads,
        on_death: Callable[[], None] = lambda: None,
        batch_seconds: Mapping[int, float] = NOTHING_MEASURED,
    ) -> None:
        """Serve with a session that is known to work; ``start`` gives one that is.

        ``batch_seconds`` is what a measurement before found: batch size -> seconds of one run.
        """
        self.manifest: Manifest = artefact.manifest
        self.digest = artefact.digest
        self.labels = artefact.labels
        self.batch_seconds = batch_seconds
        self._metrics: ModelMetrics = metrics.for_model(self.manifest.name, self.manifest.task)
        # The labels of ``emo_model_info``: version, provider and precision.
        self._description = self.manifest.version, settings.session.provider, self.manifest.outputs[0].dtype
        self._metrics.served(*self._description)
        self._is_served = True
        self._limits = image_limits(settings)
        self._drain_seconds = settings.drain_seconds
        self._request_seconds = settings.request_timeout_seconds
        self._pixel_threads = pixel_threads
        count = settings.batching.instances or usable_cores()
        costs = CostModel(
            count,
            batch_seconds,
            max_batch_size=settings.batching.largest_batch,
            decode_threads=settings.decode_threads or usable_cores(),
        )
        self._fair_queue = FairQueue(costs)
        self._admission = Admission(self.manifest.name, settings.batching.max_queue_size, self._fair_queue)
        self._deadlines = Deadlines()
        self.retry_schedule = self._admission.retry_schedule
        self._pipeline = pipeline = Pipeline(self.manifest.preprocessing, self._limits, task_for(artefact))
        self._instances = Instances(self.manifest.name, session, count, on_death)
        batcher = Batcher(self._instances, settings.batching, costs, self._metrics)
        self._batched = BatchExecutor(pipeline, pixel_threads, batcher, self._admission)
        self._inline = InlineExecutor(pipeline, batcher, self._admission, self._metrics)
        self._queue = _queue(self._fair_queue, batcher)
        self._metrics.watch(self._queue)

    @classmethod
    async def start(
        cls,
        artefact: Artefact,
        settings: Settings,
        metrics: Metrics,
        pixel_threads: PixelThreads,
        load_thread: LoadThread,
        on_death: Callable[[], None] = lambda: None,
        open_session: OpenSession = open_session,
        batch_seconds: Mapping[int, float] = NOTHING_MEASURED,
    ) -> "Deployment":
        """Load the model, check and warm it up, all in that thread, then serve it; raises StartupError."""

        def load() -> tuple[Session, Mapping[int, float]]:
            session = open_session(artefact, settings)
            seconds = self_test(artefact, session, image_limits(settings), settings.batching.largest_batch)
            return session, batch_seconds or seconds

        session, batch_seconds = await load_thread.run(load)
        return cls(artefact, session, settings, metrics, pixel_threads, on_death, batch_seconds)

    @property
    def ready(self) -> bool:
        """True while images are accepted and answered."""
        return self._instances.alive

    def enter(self, client: str, request: str, deadline: float) -> Ticket:
        """Admit a request before its body is read; ``request`` is the key by which its retry is recognised.

        Until ``Ticket.leave`` is called, its images are answered even if the model is retired. Raises QueueFull,
        Overloaded or ShuttingDown; that counts as one image, as nobody knows how many are in it.
        """
        try:
            return self._admission.enter(client, request, deadline)
        except ServiceError as error:
            self._count(error)
            raise

    async def predict(self, job: Job) -> Prediction:
        """Answer one encoded image, or raise a ServiceError.

        Refusals (QueueFull, Overloaded, ShuttingDown, ModelNotReady) come at once. Cancelled while it waits, or past
        its deadline, the image is neither decoded nor computed.
        """
        try:
            self._admission.admit(job)
            try:
                with self._deadlines.before(job.deadline):
                    await self._fair_queue.acquire(job)
                    executor = self._inline if self._inline.is_best else self._batched
                    prediction = await executor.run(job)
            finally:
                self._admission.release(job)
        except asyncio.CancelledError:
            self._metrics.finished("cancelled")
            raise
        except ServiceError as error:
            self._count(error)
            raise
        found = prediction_stats(prediction.default_result)
        self._metrics.answered(prediction.timings.stages, found, self.labels)
        if job.ticket.answered is not None:
            job.ticket.answered(job, prediction)
        return prediction

    @property
    def under_way(self) -> int:
        """Number of images that were accepted and are not answered yet."""
        return self._admission.under_way

    def compute(self, job: Job) -> Prediction:
        """The prediction of one image, by the calling thread and past the queue; nothing is counted or learned.

        Raises what the steps raise. It may be called after ``close``, too.
        """
        prepared = self._pipeline.prepare(job)
        computed = infer(self._instances.session, [prepared.tensor])
        run = Run(computed.outputs[0], 0.0, computed.started_at, computed.seconds)
        return self._pipeline.finish(job, prepared, run)

    async def draw(self, upload: bytes, result: Result, media_type: PictureType, deadline: float | None) -> bytes:
        """The picture with what was found drawn on it, as ``image/png`` or ``image/jpeg``.

        Part of a request that was admitted, so it is never refused for want of room.
        """
        return await self._finish(deadline, draw_result, upload, self._limits, result, self.labels, media_type)

    async def write_class_map(self, result: Segmentation, deadline: float | None) -> bytes:
        """The PNG file whose pixels are class ids; as ``draw``."""
        return await self._finish(deadline, encode_class_map, result, self.labels)

    async def write_masks(self, result: Segmentation, deadline: float | None) -> list[bytes]:
        """A PNG file for each region, white where it is; as ``draw``."""
        return await self._finish(deadline, encode_masks, result)

    async def _finish(self, deadline: float | None, function: Callable[[*Ts], T], *args: *Ts) -> T:
        try:
            with self._admission.carry_on(), self._deadlines.before(deadline):
                return await self._pixel_threads.run(function, *args)
        except InferenceFailed as error:
            self._log(error)
            raise

    def count_refused_body(self) -> None:
        """Count a request whose body was refused: as one image, because their number is unknown."""
        self._metrics.finished("unavailable")
        self._metrics.rejected("inflight_bytes")

    async def retire(self) -> None:
        """Answer the admitted requests, for as long as one may take, then close; for a version that was replaced."""
        with suppress(TimeoutError):  # a request that has not left by then is past its deadline
            async with asyncio.timeout(self._request_seconds):
                await self._admission.left()
        await self.close()

    async def close(self) -> None:
        """Refuse new images, answer the accepted ones within ``drain_seconds``, reject the rest, end."""
        self._admission.close()
        try:
            async with asyncio.timeout(self._drain_seconds):
                await self._admission.drained()
        except TimeoutError:
            logger.warning("images were still unanswered at the end of the drain", extra={"model": self.manifest.name})
        finally:
            await self._instances.close()
            if self._is_served:
                self._is_served = False
                self._metrics.unwatch(self._queue)
                self._metrics.retired(*self._description)

    def _count(self, error: ServiceError) -> None:
        """Count an image that was not answered; log what is our own fault."""
        match error:
            case InvalidRequest():
                self._metrics.finished("invalid")
            case DeadlineExceeded():
                self._metrics.finished("timeout")
            case Unavailable():
                self._metrics.finished("unavailable")
                self._metrics.rejected(_REASONS.get(type(error), "not_ready"))
            case _:
                self._metrics.finished("failed")
                self._log(error)

    def _log(self, error: ServiceError) -> None:
        logger.error("an image failed", extra={"model": self.manifest.name}, exc_info=error)


def _queue(queue: FairQueue, batcher: Batcher) -> Queue:
    """The gauges of all images that wait, with or without a slot."""
    ready = queue.ready
    return Queue(
        lambda: queue.waiting + len(ready) + len(batcher.queue),
        lambda: max(queue.age(), ready.age()),
    )
