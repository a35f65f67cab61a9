"""Dynamic batching: many requests, few batches, nobody left waiting.

One task forms batches, one task runs each of them in a thread. An instance is taken before its batch is formed, so
whatever arrives while all instances are busy shares the next batch, with no delay configured. With a delay, an idle
instance waits for one more image where the cost model says that this pays. Every image ends in exactly one way: its
answer, an error, or the cancellation of the task that waits for it.
"""

import asyncio
import logging
import math
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emo_serve.engine.execution.instances import Instances
from emo_serve.engine.execution.session import Inference, Run, infer
from emo_serve.engine.host import lower_priority
from emo_serve.engine.scheduling.cost_model import CostModel
from emo_serve.engine.scheduling.deadlines import too_late
from emo_serve.errors import InferenceFailed, ServiceError
from emo_serve.metrics.definitions import ModelMetrics
from emo_serve.settings import Batching

_NEWEST = 0.2  # weight of the newest gap between two images in their mean

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Queued:
    """An image that waits for its answer."""

    tensor: NDArray[np.uint8]
    deadline: float | None  # loop.time()
    answer: asyncio.Future[Run]
    queued_at: float  # time.perf_counter(): the event loop's own clock may tick in milliseconds


class Batcher:
    """Turns single images into batches for one session; lives on the event loop that made it."""

    def __init__(self, instances: Instances, options: Batching, costs: CostModel, metrics: ModelMetrics) -> None:
        """Start to batch, as many batches at a time as there are ``instances``, until these are closed.

        The ``costs`` learn from its runs and decide whether waiting for more images pays.
        """
        self.instances = instances
        self._max_batch_size = options.largest_batch
        self._options = options
        self._costs = costs
        self._metrics = metrics
        self.queue: OrderedDict[_Queued, None] = OrderedDict()
        """The images that wait for a batch; an ordered set, from which who leaves is removed at once."""
        self._arrived = asyncio.Event()
        self._arrived_at = time.perf_counter()
        self._arrival_seconds = 0.0  # from one image to the next, lately
        self._loop = asyncio.get_running_loop()
        instances.start(self._form_batches(), f"batcher {instances.name}")

    async def submit(self, tensor: NDArray[np.uint8], deadline: float | None = None) -> Run:
        """Answer one image (H, W, 3), computed together with others; cancelled while queued, it is never computed.

        Nor is it where the answer would come past its ``deadline`` (loop.time()); the caller ends its own wait.
        Raises ShuttingDown, ModelNotReady (the batcher died), DeadlineExceeded or InferenceFailed.
        """
        if not self.instances.alive:
            raise self.instances.ended_error()
        image = _Queued(tensor, deadline, self._loop.create_future(), time.perf_counter())
        self.queue[image] = None
        self.instances.waiters.add(image.answer)
        self._note_arrival()
        self._arrived.set()
        try:
            return await image.answer
        finally:
            self._leave_queue(image)

    # ---- forming batches -------------------------------------------------------------------------------------------

    async def _form_batches(self) -> None:
        while True:
            await self._arrived.wait()
            await self.instances.idle.acquire()
            if batch := await self._form():
                self.instances.start(self._run(batch), f"batch of {len(batch)} for {self.instances.name}")
            else:
                self.instances.idle.release()

    async def _form(self) -> list[_Queued]:
        """The next images to compute; none if all that waited have left."""
        await asyncio.sleep(0)  # what is submitted in this iteration of the event loop belongs together
        await self._wait_for_batch()
        batch = self._take()
        if self.queue:
            self._arrived.set()
        else:
            self._arrived.clear()
        return batch

    async def _wait_for_batch(self) -> None:
        """Wait while one more image is worth it: see ``_max_wait``."""
        while (max_wait := self._max_wait()) > 0:
            self._arrived.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(max_wait):
                    await self._arrived.wait()
                    continue
            return

    def _max_wait(self) -> float:
        """Seconds to wait for one more image, the instance being idle; not above 0: run what is there.

        Waiting must save more of the instance's time than it costs, an image must be likely to come in that time, the
        first may wait no longer than the configured delay, and no queued image longer than half of the time it has.
        """
        size = len(self.queue)
        if not 0 < size < self._max_batch_size or not self._options.max_queue_delay_seconds:
            return 0.0
        gain = self._costs.gain(size)
        if gain < self._arrival_seconds:
            return 0.0
        waited = time.perf_counter() - next(iter(self.queue)).queued_at
        deadlines = [image.deadline for image in self.queue if image.deadline is not None]
        spare = (min(deadlines, default=math.inf) - self._loop.time()) / 2 - self._costs.run_seconds(size + 1)
        return min(gain, self._options.max_queue_delay_seconds - waited, spare)

    def _note_arrival(self) -> None:
        now = time.perf_counter()
        self._arrival_seconds += _NEWEST * (now - self._arrived_at - self._arrival_seconds)
        self._arrived_at = now

    def _take(self) -> list[_Queued]:
        batch: list[_Queued] = []
        while self.queue and len(batch) < self._max_batch_size:
            image = next(iter(self.queue))
            self._leave_queue(image)
            if not image.answer.done():  # done: cancelled in this very iteration, by its client or its deadline
                batch.append(image)
        return self._in_time(batch)

    def _in_time(self, batch: list[_Queued]) -> list[_Queued]:
        """The images that this run can answer before their deadlines; the others are rejected, not computed late.

        Where it can answer none, the one with the most time is computed all the same: what was learned about costs may
        no longer be true, and only a run can tell.
        """
        end = self._loop.time() + self._costs.run_seconds(len(batch))
        late = [image for image in batch if image.deadline is not None and image.deadline < end]
        if late and len(late) == len(batch):
            late.remove(max(late, key=lambda image: image.deadline or math.inf))
        for image in late:
            _reject(image, too_late())
        return [image for image in batch if image not in late]

    def _leave_queue(self, image: _Queued) -> None:
        self.queue.pop(image, None)
        self.instances.waiters.discard(image.answer)

    # ---- running them ----------------------------------------------------------------------------------------------

    async def _run(self, batch: list[_Queued]) -> None:
        try:
            await self._compute(batch)
        except BaseException:  # this task was killed; nobody may be left waiting
            for image in batch:
                _reject(image, self.instances.ended_error())
            raise
        finally:
            self.instances.idle.release()

    async def _compute(self, batch: list[_Queued]) -> None:
        """Answer every image of the batch; if it fails, one by one, so that a poison image fails alone."""
        tensors = [image.tensor for image in batch]
        try:
            computed = await self._loop.run_in_executor(
                self.instances.threads, self._infer, self._costs.is_heavy, tensors
            )
        except InferenceFailed as error:
            if len(batch) == 1:
                _reject(batch[0], error)
                return
            logger.warning(
                "a batch failed; its images are tried one by one",
                extra={"model": self.instances.name, "batch_size": len(batch)},
                exc_info=error,
            )
            for image in batch:
                if not image.answer.done():
                    await self._compute([image])
            return
        self._metrics.ran(len(batch), computed.seconds, self._costs.ran(len(batch), computed.seconds))
        for image, outputs in zip(batch, computed.outputs, strict=True):
            if not image.answer.done():  # its client may have left meanwhile
                queue_seconds = computed.started_at - image.queued_at
                image.answer.set_result(Run(outputs, queue_seconds, computed.started_at, computed.seconds, len(batch)))

    def _infer(self, is_heavy: bool, tensors: list[NDArray[np.uint8]]) -> Inference:  # noqa: FBT001  by position
        if is_heavy:
            lower_priority()
        return infer(self.instances.session, tensors)


def _reject(image: _Queued, error: ServiceError) -> None:
    if not image.answer.done():
        image.answer.set_exception(error)
