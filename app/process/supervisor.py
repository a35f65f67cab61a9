"""The supervisor: owns the address, keeps the workers running, answers for all of them together."""

import asyncio
import contextlib
import logging
import math
import signal
import socket

from app.errors import StartupError
from app.metrics import SupervisorMetrics
from app.process.address import listeners, welcome
from app.process.channel import ADMINISTRATION
from app.process.child import Child
from app.process.dispatcher import Dispatcher
from app.process.exits import EXIT_INTERRUPTED, EXIT_OK
from app.settings import Settings
from app.snapshots import Snapshot, merge, snapshot

_COLLECT_SECONDS = 1.0
_STEADY_SECONDS = 10.0  # a worker that ran so long is replaced at once when it ends
_FIRST_DELAY_SECONDS = 0.5
_LAST_DELAY_SECONDS = 30.0
_SPARE_SECONDS = 5.0

logger = logging.getLogger(__name__)


def supervise(settings: Settings) -> int:
    """Serve with ``workers`` processes until a signal comes; raises StartupError or OSError where that cannot begin."""
    with listeners(settings) as (listener, admin), asyncio.Runner() as runner:
        return runner.run(Supervisor(settings, listener, admin).run())


def restart_delay(early_ends: int) -> float:
    """Seconds until the next start after so many workers in a row that ended soon: 0, then 0.5, doubled up to 30."""
    if not early_ends:
        return 0.0
    return min(_LAST_DELAY_SECONDS, math.ldexp(_FIRST_DELAY_SECONDS, min(early_ends - 1, 10)))


class Supervisor:
    """Used once, on one event loop."""

    def __init__(self, settings: Settings, listener: socket.socket, admin: socket.socket | None) -> None:
        self._settings = settings
        self._listener = listener
        self._admin = admin
        self._children: list[Child] = []
        self._dispatchers = [Dispatcher(listener, self._children)]
        if admin is not None:
            self._dispatchers.append(Dispatcher(admin, self._children, ADMINISTRATION))
        self._leaving = False
        self._stopping = asyncio.Event()
        self._interrupted = False
        self._first_failure = ""
        self._metrics = SupervisorMetrics()
        self._past: Snapshot = {}  # what workers counted that have ended
        self._gathering = asyncio.Lock()
        self._next_gathering: asyncio.Task[Snapshot] | None = None

    async def run(self) -> int:
        """Start, serve, drain; the exit status. Raises StartupError where no worker can be started."""
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._signalled, number)
        tried = [asyncio.Event() for _ in range(self._settings.workers or 1)]
        async with asyncio.TaskGroup() as group:
            keepers = [group.create_task(self._keep(event)) for event in tried]
            try:
                for event in tried:
                    await event.wait()
                started = self._stopping.is_set() or self._begin()
                if started:
                    await self._stopping.wait()
                    await self._all_ended(keepers)
            finally:
                self._stopping.set()
                self._kill()
        if not started:
            raise StartupError(self._first_failure)
        return EXIT_INTERRUPTED if self._interrupted else EXIT_OK

    def _begin(self) -> bool:
        """Open the door; False where nobody is there to serve."""
        ready = [child for child in self._children if child.state == "ready"]
        if not ready:
            return False
        try:
            for dispatcher in self._dispatchers:
                dispatcher.open()
        except OSError as error:
            self._first_failure = str(error)
            return False
        welcome(ready[0].models, self._listener, self._admin)
        return True

    def _signalled(self, number: signal.Signals) -> None:
        """The first signal: stop, after a SIGTERM with a delay in which serving goes on. The second: end at once."""
        if self._leaving:
            self._interrupted = True
            self._stop()
            self._kill()
            return
        self._leaving = True
        delay = self._settings.drain_delay_seconds if number == signal.SIGTERM else 0
        if not delay or not self._dispatchers[0].is_open:
            self._stop()
            return
        for child in self._children:
            child.leave()
        asyncio.get_running_loop().call_later(delay, self._stop)

    def _stop(self) -> None:
        """Accept no more, drain every worker."""
        self._stopping.set()
        for dispatcher in self._dispatchers:
            dispatcher.close()
        for child in self._children:
            child.drain()

    def _kill(self) -> None:
        for child in self._children:
            child.kill()

    async def _all_ended(self, keepers: list[asyncio.Task[None]]) -> None:
        """Workers end by themselves, ``drain_seconds`` for the answers and again for the models; but one may hang."""
        _, late = await asyncio.wait(keepers, timeout=2 * self._settings.drain_seconds + _SPARE_SECONDS)
        if late:
            logger.error("workers did not end in time", extra={"workers": len(late)})

    # ---- one of the workers ----------------------------------------------------------------------------------------

    async def _keep(self, tried: asyncio.Event) -> None:
        """Have one worker run, and another when it has ended; ``tried`` is set when the first is ready or has ended."""
        early_ends = 0
        while not self._stopping.is_set():
            began = asyncio.get_running_loop().time()
            try:
                child = await Child.start(self._settings)
            except OSError as error:
                reason = f"no worker can be started: {error}"
            else:
                reason = await self._follow(child, tried)
            self._first_failure = self._first_failure or reason
            tried.set()
            if self._stopping.is_set():
                return
            steady = asyncio.get_running_loop().time() - began >= _STEADY_SECONDS
            early_ends = 0 if steady else early_ends + 1
            logger.error("a worker ended", extra={"reason": reason})
            self._metrics.restarts.inc()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(restart_delay(early_ends)):
                    await self._stopping.wait()

    async def _follow(self, child: Child, tried: asyncio.Event) -> str:
        """Listen to a worker until it has ended; gives the reason."""
        self._children.append(child)
        if self._stopping.is_set():
            child.drain()
        elif self._leaving:
            child.leave()
        answers: set[asyncio.Task[None]] = set()
        async for word, content in child.messages():
            if word == "ready":
                logger.info("a worker is ready", extra={"worker": child.number})
                tried.set()
            elif word in ("gather", "ask"):
                work = self._answer(child, content) if word == "gather" else self._ask(child, **content)
                task = asyncio.create_task(work)
                answers.add(task)
                task.add_done_callback(answers.discard)
            elif word == "news":
                for other in self._children:
                    if other is not child:
                        other.send_news(content)
            for dispatcher in self._dispatchers:
                dispatcher.update()
        status = await child.ended()
        self._children.remove(child)
        self._past = merge([], [self._past, child.metrics])
        return child.failure or f"worker {child.number} ended with status {status}"

    async def _ask(self, child: Child, question: int, *, rescan: bool) -> None:
        """Give a worker what all serve."""
        states = await asyncio.gather(*(other.ask(rescan=rescan) for other in self._children))
        child.send_states(question, [state for state in states if state is not None])

    # ---- metrics ---------------------------------------------------------------------------------------------------

    async def _answer(self, child: Child, question: int) -> None:
        """Give a worker the metrics of all."""
        if self._next_gathering is None:
            self._next_gathering = asyncio.create_task(self._gather())
        child.send_gathered(question, await self._next_gathering)

    async def _gather(self) -> Snapshot:
        """The metrics of all processes; whoever asks before it begins shares it, so that asking often costs little."""
        async with self._gathering:
            self._next_gathering = None
            await asyncio.gather(*(child.collect(_COLLECT_SECONDS) for child in self._children))
            present = [child.metrics for child in self._children if child.answers]
            silent = [child.metrics for child in self._children if not child.answers]
            return merge([*present, snapshot(self._metrics.registry)], [self._past, *silent])
