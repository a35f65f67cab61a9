"""Images that the thread of an instance takes from their bytes to their answer in one go.

Where batches do not pay, an image has nothing to gain from steps of their own: each hand-over between threads costs
more than what it lets overlap, as every core is busy anyway.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from emo_serve.engine.execution.inference import infer
from emo_serve.engine.execution.pixel_threads import guarded
from emo_serve.engine.execution.session import Outputs, Session
from emo_serve.engine.host.thread_priority import lower_priority
from emo_serve.engine.scheduling.cost_model import Costs
from emo_serve.engine.scheduling.ready_queue import Hand, Turn
from emo_serve.errors import ServiceError
from emo_serve.metrics.definitions import ModelMetrics


@dataclass(frozen=True, slots=True)
class Answer:
    """One image's rows of a batch's outputs, without the batch axis, and where its time went."""

    outputs: Outputs
    queue_seconds: float
    infer_seconds: float


class HasTensor(Protocol):
    """An image that is ready for the model."""

    @property
    def tensor(self) -> NDArray[np.uint8]:
        """(H, W, 3)."""
        ...


P = TypeVar("P", bound=HasTensor)
R = TypeVar("R")


class Alone:
    """Runs single images in the threads of one session's instances; used from one event loop."""

    def __init__(
        self,
        session: Session,
        idle: asyncio.Semaphore,
        threads: ThreadPoolExecutor,
        hand: Hand[Callable[[], None]],
        costs: Costs,
        metrics: ModelMetrics,
    ) -> None:
        """Share the instances with whoever else takes them from ``idle``; what the runs cost is told to ``costs``."""
        self._session = session
        self._idle = idle
        self._threads = threads
        self._hand = hand
        self._costs = costs
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._answers: set[asyncio.Future[Any]] = set()
        self._at_work = 0

    @property
    def has_thread(self) -> bool:
        """Whether an instance is idle or takes what is at hand when it has ended its image."""
        return self._at_work > 0 or not self._idle.locked()

    async def run(
        self, prepare: Callable[[], P], finish: Callable[[P, Answer], R], on_computed: Callable[[], None], turn: Turn
    ) -> R:
        """Prepare one image, compute it and finish it; ``on_computed`` is called on the event loop before that is told.

        An image whose waiter left before it was computed never is. Raises what the functions and the session raise, as
        ServiceErrors. To be called where an instance ``has_thread``, in the same turn of the event loop.
        """
        answer: asyncio.Future[R] = self._loop.create_future()
        self._answers.add(answer)
        self._hand.put(turn, partial(self._visit, time.perf_counter(), prepare, finish, on_computed, answer))
        if not self._idle.locked():
            await self._idle.acquire()  # at once
            self._at_work += 1
            self._threads.submit(self._work)
        try:
            return await answer
        finally:
            self._answers.discard(answer)

    def reject(self, why: Callable[[], ServiceError]) -> None:
        """Fail all that are not answered yet, each with an error of its own."""
        for answer in self._answers:
            _fail(answer, why())

    # ---- in the threads --------------------------------------------------------------------------------------------

    def _work(self) -> None:
        """Take what is at hand until there is nothing."""
        while (visit := self._hand.take()) is not None:
            visit()
        self._tell(self._stopped)

    def _visit(
        self,
        submitted: float,
        prepare: Callable[[], P],
        finish: Callable[[P, Answer], R],
        on_computed: Callable[[], None],
        answer: asyncio.Future[R],
    ) -> None:
        """All steps of one image; the event loop is told how they ended."""
        if answer.done():  # its client left, or its deadline passed
            return
        if self._costs.is_heavy:
            lower_priority()
        queued = time.perf_counter() - submitted
        try:
            settle = guarded(self._take_through, queued, prepare, finish, on_computed, answer)
        except ServiceError as error:
            settle = partial(_fail, answer, error)
        self._tell(settle)

    def _take_through(
        self,
        queued: float,
        prepare: Callable[[], P],
        finish: Callable[[P, Answer], R],
        on_computed: Callable[[], None],
        answer: asyncio.Future[R],
    ) -> Callable[[], None]:
        prepared = prepare()
        if answer.done():
            return lambda: None
        computed = infer(self._session, [prepared.tensor])
        rows = {name: values[0] for name, values in computed.outputs.items()}
        result = finish(prepared, Answer(rows, queued, computed.seconds))

        def settle() -> None:
            self._metrics.batch(1)
            self._costs.ran(1, computed.seconds)
            if not answer.done():
                on_computed()
                answer.set_result(result)

        return settle

    def _tell(self, settle: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the event loop has ended, and nobody waits
            self._loop.call_soon_threadsafe(settle)

    # ---- on the event loop -----------------------------------------------------------------------------------------

    def _stopped(self) -> None:
        if self._hand:  # put in when the thread had just looked
            with suppress(RuntimeError):  # the threads have ended, and nobody waits
                self._threads.submit(self._work)
            return
        self._at_work -= 1
        self._idle.release()


def _fail(answer: asyncio.Future[Any], error: ServiceError) -> None:
    if not answer.done():
        answer.set_exception(error)
