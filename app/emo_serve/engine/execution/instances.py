"""The instances of one session: how many runs may go on at a time, their threads, and whether they still answer."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from emo_serve.engine.execution.session import Session
from emo_serve.errors import ModelNotReady, ServiceError, ShuttingDown

logger = logging.getLogger(__name__)


class Instances:
    """Shared by all that run one session, each with an instance taken from ``idle``; used from one event loop."""

    def __init__(self, name: str, session: Session, count: int, on_death: Callable[[], None] = lambda: None) -> None:
        """Allow ``count`` runs at a time of the model called ``name``; ``on_death`` is called if a task dies."""
        self.name = name
        self.session = session
        self.idle = asyncio.Semaphore(count)
        self.threads = ThreadPoolExecutor(count, thread_name_prefix=f"infer-{name}")
        self.waiters: set[asyncio.Future[Any]] = set()
        """Futures to fail when the instances end: those of all waiting images; a running batch fails its own."""
        self.alive = True
        """True while images are being answered."""
        self._on_death = on_death
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def ended_error(self) -> ServiceError:
        """ShuttingDown or ModelNotReady for one image; a new one each time, as each collects a traceback."""
        if self._closed:
            return ShuttingDown(f"Model {self.name!r} was shut down before it answered.")
        return ModelNotReady(f"Model {self.name!r} stopped working.")

    def start(self, work: Coroutine[None, None, None], name: str) -> None:
        """Start a task and notice its failure, which the event loop itself would not report."""
        task = self._loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def close(self) -> None:
        """Reject what waits, and end the tasks and the threads."""
        self._closed, self.alive = True, False
        self._reject_waiters()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        self.threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        failure = asyncio.CancelledError() if task.cancelled() else task.exception()
        if failure is None or not self.alive:
            return
        self.alive = False
        logger.critical("the batcher died", extra={"model": self.name, "task": task.get_name()}, exc_info=failure)
        self._reject_waiters()
        self._on_death()

    def _reject_waiters(self) -> None:
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_exception(self.ended_error())
