"""Images that an instance takes from their bytes to their answer in one visit to its thread.

Where batches do not pay, an image has nothing to gain from steps of their own: each hand-over between threads costs
more than what it lets overlap, as every core is busy anyway.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.engine.costs import Costs
from app.engine.inference import infer
from app.engine.priority import lower_priority
from app.engine.session import Outputs, Session
from app.engine.workers import guarded
from app.errors import ServiceError
from app.metrics import ModelMetrics


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
        costs: Costs,
        metrics: ModelMetrics,
    ) -> None:
        """Share the instances with whoever else takes them from ``idle``; what the runs cost is told to ``costs``."""
        self._session = session
        self._idle = idle
        self._threads = threads
        self._costs = costs
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._answers: set[asyncio.Future[Any]] = set()

    async def run(
        self, prepare: Callable[[], P], finish: Callable[[P, Answer], R], on_computed: Callable[[], None]
    ) -> R:
        """Prepare one image, compute it and finish it; ``on_computed`` is called on the event loop before that is told.

        An image whose waiter left while it was prepared is not computed. Raises what the functions and the session
        raise, as ServiceErrors.
        """
        await self._idle.acquire()
        answer: asyncio.Future[R] = self._loop.create_future()
        self._answers.add(answer)
        self._threads.submit(self._visit, self._costs.is_heavy, prepare, finish, on_computed, answer)
        try:
            return await answer
        finally:
            self._answers.discard(answer)

    def reject(self, why: Callable[[], ServiceError]) -> None:
        """Fail all that are not answered yet, each with an error of its own."""
        for answer in self._answers:
            _fail(answer, why())

    def _visit(
        self,
        is_heavy: bool,  # noqa: FBT001  submit() passes by position
        prepare: Callable[[], P],
        finish: Callable[[P, Answer], R],
        on_computed: Callable[[], None],
        answer: asyncio.Future[R],
    ) -> None:
        """In the thread: all steps; the event loop is told how they ended."""
        if is_heavy:
            lower_priority()
        try:
            settle = guarded(self._take_through, prepare, finish, on_computed, answer)
        except ServiceError as error:
            settle = partial(_fail, answer, error)
        with suppress(RuntimeError):  # the event loop has ended, and nobody waits
            self._loop.call_soon_threadsafe(self._visited, settle)

    def _take_through(
        self,
        prepare: Callable[[], P],
        finish: Callable[[P, Answer], R],
        on_computed: Callable[[], None],
        answer: asyncio.Future[R],
    ) -> Callable[[], None]:
        prepared = prepare()
        if answer.done():  # its client left, or its deadline passed
            return lambda: None
        computed = infer(self._session, [prepared.tensor])
        rows = {name: values[0] for name, values in computed.outputs.items()}
        result = finish(prepared, Answer(rows, 0.0, computed.seconds))

        def settle() -> None:
            self._metrics.batch(1)
            self._costs.ran(1, computed.seconds)
            if not answer.done():
                on_computed()
                answer.set_result(result)

        return settle

    def _visited(self, settle: Callable[[], None]) -> None:
        self._idle.release()
        settle()


def _fail(answer: asyncio.Future[Any], error: ServiceError) -> None:
    if not answer.done():
        answer.set_exception(error)
