"""One served model: its session, batcher and pipeline, from the self-test to the drain."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TypeVarTuple

from emo_serve.engine.execution.batcher import Batcher
from emo_serve.engine.execution.pipeline import Pipeline, Prediction, Stay
from emo_serve.engine.execution.pixel_threads import PixelWorkers
from emo_serve.engine.execution.prediction_stats import findings
from emo_serve.engine.execution.session import OrtSession, Session
from emo_serve.engine.execution.tasks import Parameters, task_for
from emo_serve.engine.host.cpus import usable_cores
from emo_serve.engine.registry.self_test import self_test
from emo_serve.engine.repository.artefacts import Artefact
from emo_serve.engine.scheduling.admission import Admission, Visit
from emo_serve.engine.scheduling.cost_model import NOTHING_MEASURED, Costs
from emo_serve.engine.scheduling.deadlines import Deadlines, too_late
from emo_serve.engine.scheduling.fair_queue import Line
from emo_serve.engine.scheduling.ready_queue import Hand
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
from emo_serve.vision.draw import PictureType, draw_found, encode_class_map
from emo_serve.vision.image import ImageLimits
from emo_serve.vision.results import Detections, Segmentation

logger = logging.getLogger(__name__)

Ts = TypeVarTuple("Ts")

_REASONS: dict[type[Unavailable], Reason] = {
    QueueFull: "queue_full",
    Overloaded: "deadline",
    ModelNotReady: "not_ready",
    ShuttingDown: "shutting_down",
}

OpenSession = Callable[[Artefact, Settings], Session]


def open_session(artefact: Artefact, settings: Settings) -> Session:
    """The artefact's model in ONNX Runtime; raises StartupError."""
    return OrtSession(artefact.model_path, artefact.manifest, settings.session)


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
        workers: PixelWorkers,
        on_death: Callable[[], None] = lambda: None,
        batch_seconds: Mapping[int, float] = NOTHING_MEASURED,
    ) -> None:
        """Serve with a session that is known to work; ``start`` gives one that is.

        ``batch_seconds`` is what a measurement before found: batch size -> seconds of one run.
        """
        self.manifest: Manifest = artefact.manifest
        self.labels = artefact.labels
        self.batch_seconds = batch_seconds
        self._metrics: ModelMetrics = metrics.for_model(self.manifest.name, self.manifest.task)
        # The labels of ``emo_model_info``: version, provider and precision.
        self._description = self.manifest.version, settings.session.provider, self.manifest.outputs[0].dtype
        self._metrics.served(*self._description)
        self._is_served = True
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines()
        self._limits = image_limits(settings)
        self._drain_seconds = settings.drain_seconds
        self._request_seconds = settings.request_timeout_seconds
        self._workers = workers
        self._instances = settings.batching.instances or usable_cores()
        self._costs = Costs(self._instances, batch_seconds)
        decode_threads = settings.decode_threads or usable_cores()
        # Not a method: a circle of references would keep the model in memory when it has ended.
        slots = partial(_slots, self._costs, decode_threads, self._instances, settings.batching.largest_batch)
        hand: Hand[Callable[[], None]] = Hand()
        self._line = Line(slots, hand)
        self._admission = Admission(self.manifest.name, settings.batching.max_queue_size, self._line, self._costs)
        self.returns = self._admission.returns
        self._batcher = Batcher(
            self.manifest.name, session, settings.batching, self._instances, self._costs, self._metrics, hand, on_death
        )
        self._queue = _queue(self._line, hand, self._batcher)
        self._metrics.watch(self._queue)
        self._pipeline = Pipeline(self.manifest.preprocessing, self._limits, task_for(artefact), workers, self._batcher)

    @classmethod
    async def start(
        cls,
        artefact: Artefact,
        settings: Settings,
        metrics: Metrics,
        workers: PixelWorkers,
        on_death: Callable[[], None] = lambda: None,
        open_session: OpenSession = open_session,
        batch_seconds: Mapping[int, float] = NOTHING_MEASURED,
    ) -> "Deployment":
        """Load the model, check and warm it up, all in a thread, then serve it; raises StartupError."""

        def load() -> tuple[Session, Mapping[int, float]]:
            session = open_session(artefact, settings)
            seconds = self_test(artefact, session, image_limits(settings), settings.batching.largest_batch)
            return session, batch_seconds or seconds

        session, batch_seconds = await asyncio.to_thread(load)
        return cls(artefact, session, settings, metrics, workers, on_death, batch_seconds)

    @property
    def ready(self) -> bool:
        """Whether images are accepted and answered."""
        return self._batcher.alive

    def enter(self, client: str, request: str, deadline: float) -> Visit:
        """Let a request in before its body is read; ``request`` is what is the same when it comes again.

        It visits until it is to ``leave``; what it sends meanwhile is answered even if the model is retired. Raises
        QueueFull, Overloaded or ShuttingDown; that counts as one image, as nobody knows how many are in it.
        """
        try:
            return self._admission.enter(client, request, deadline)
        except ServiceError as error:
            self._count(error)
            raise

    def leave(self) -> None:
        """End a visit: nothing more is asked for."""
        self._admission.leave()

    async def predict(
        self, upload: bytes, parameters: Parameters, deadline: float | None = None, visit: Visit | None = None
    ) -> Prediction:
        """Answer one encoded image, or raise a ServiceError and nothing else; ``deadline`` is in ``loop.time()``.

        Refusals (QueueFull, Overloaded, ShuttingDown, ModelNotReady) come at once. Cancelled while it waits, or past
        its deadline, the image is neither decoded nor computed.
        """
        visit = visit or Visit()
        came = time.perf_counter()
        try:
            with self._admission.admit(visit, deadline), self._deadlines.before(deadline):
                async with self._line.slot(visit.client) as slot:
                    stay = Stay(
                        slot.turn,
                        time.perf_counter() - came,
                        partial(self._drop_if_hopeless, deadline),
                        self._learning(slot.give_back),
                    )
                    prediction = await self._pipeline.predict(upload, parameters, deadline, stay)
        except asyncio.CancelledError:
            self._metrics.finished("cancelled")
            raise
        except ServiceError as error:
            self._count(error)
            raise
        except Exception as error:
            msg = "the image could not be processed because of an internal error"
            failure = InferenceFailed(msg)
            failure.__cause__ = error
            self._count(failure)
            raise failure from error
        self._metrics.finished("ok")
        self._metrics.observe(prediction.timings.stages())
        if (found := findings(prediction.result, parameters)) is not None:
            self._metrics.found(*found, self.labels)
        return prediction

    async def draw(
        self,
        upload: bytes,
        result: Detections | Segmentation,
        media_type: PictureType,
        deadline: float | None = None,
    ) -> bytes:
        """The picture with what was found drawn on it, as ``image/png`` or ``image/jpeg``.

        Part of a request that was admitted, so it is never refused for want of room.
        """
        return await self._finish(deadline, draw_found, upload, self._limits, result, self.labels, media_type)

    async def write_class_map(self, result: Segmentation, deadline: float | None = None) -> bytes:
        """The PNG file whose pixels are labels; as ``draw``."""
        return await self._finish(deadline, encode_class_map, result, self.labels)

    async def _finish(self, deadline: float | None, function: Callable[[*Ts], bytes], *args: *Ts) -> bytes:
        try:
            with self._admission.carry_on(), self._deadlines.before(deadline):
                return await self._workers.run(function, *args)
        except InferenceFailed as error:
            self._log(error)
            raise

    def count_refused_body(self) -> None:
        """Count a request whose body was not taken in: as one image, because nobody knows how many were in it."""
        self._metrics.finished("unavailable")
        self._metrics.rejected("inflight_bytes")

    async def retire(self) -> None:
        """Answer those who were let in, as long as a request may take, then end; for a model that nobody finds now."""
        with suppress(TimeoutError):  # whoever has not left by then has had its answer, or is never to have it
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
            await self._batcher.close()
            if self._is_served:
                self._is_served = False
                self._metrics.unwatch(self._queue)
                self._metrics.retired(*self._description)

    def _drop_if_hopeless(self, deadline: float | None) -> None:
        """Raise DeadlineExceeded for an image that is begun too late; alone it is tried all the same. In any thread."""
        if (
            deadline is not None
            and deadline - self._loop.time() < self._costs.slot_seconds / 2
            and self._line.is_shared
        ):
            raise too_late()

    def _learning(self, give_back: Callable[[], None]) -> Callable[[], None]:
        """What ends an image's time in its slot: the next one begins, and the cost model learns how long it was."""
        started = time.perf_counter()

        def on_computed() -> None:
            self._costs.answered(time.perf_counter() - started, self._line.taken)
            give_back()

        return on_computed

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


def _queue(line: Line, hand: Hand[Callable[[], None]], batcher: Batcher) -> Queue:
    """All places where images wait."""
    return Queue(lambda: line.waiting + len(hand) + batcher.waiting, lambda: max(line.age(), hand.age()))


def _slots(costs: Costs, decode_threads: int, instances: int, max_batch_size: int) -> int:
    """How many images are decoded and computed at a time.

    Where batches pay, as on an accelerator: what the threads decode, a batch in each instance and the next one.
    Where they do not, an image needs one core at a time: as many as there are cores at work, and one or some more at
    hand, so that no core waits for the event loop. The rest would only wait inside.
    """
    if costs.batches_pay(max_batch_size):
        return decode_threads + 2 * instances * max_batch_size
    workers = max(decode_threads, instances)
    return workers + max(1, workers // 4)
