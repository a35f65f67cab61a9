"""The supervisor: owns the address, keeps the workers running, and answers for all of them together."""

import asyncio
import contextlib
import logging
import math
import signal
import socket

from emo_serve.errors import StartupError
from emo_serve.metrics.merge import Snapshot, merge, snapshot
from emo_serve.metrics.process import SupervisorMetrics
from emo_serve.process.dispatcher import Dispatcher
from emo_serve.process.exit_codes import EXIT_INTERRUPTED, EXIT_OK
from emo_serve.process.ipc import ADMINISTRATION
from emo_serve.process.listeners import listeners, reserved_ports, welcome
from emo_serve.process.worker_handle import DOUBTFUL_SECONDS, End, WorkerHandle
from emo_serve.settings import Settings

_COLLECT_SECONDS = 1.0
_STEADY_SECONDS = 10.0  # a worker that ran this long is replaced at once
_FIRST_DELAY_SECONDS = 0.5
_LAST_DELAY_SECONDS = 30.0
_SPARE_SECONDS = 5.0
_LATE_SECONDS = 1.0  # after the drain, a silent worker is not waited for
_WATCH_SECONDS = 0.5
_LOADING_SECONDS = 60.0  # of silence: an interpreter starts and imports, on a busy machine
_UNEVEN_LOOKS = 4  # uneven checks in a row that count, as connections come and go
_UNEVEN = 0.2  # of the mean: allowed difference between the most and the fewest connections

logger = logging.getLogger(__name__)


def supervise(settings: Settings) -> int:
    """Serve with ``workers`` processes until a signal arrives; raises StartupError or OSError if they cannot start."""
    with (
        reserved_ports(settings) as settings,  # noqa: PLR1704  the same, with the ports that were chosen
        listeners(settings) as (listener, admin),
        asyncio.Runner() as runner,
    ):
        return runner.run(Supervisor(settings, listener, admin).run())


def restart_delay(early_ends: int) -> float:
    """Seconds until the next start after this many short-lived workers in a row: 0, then 0.5, doubled up to 30."""
    if not early_ends:
        return 0.0
    return min(_LAST_DELAY_SECONDS, math.ldexp(_FIRST_DELAY_SECONDS, min(early_ends - 1, 10)))


class Supervisor:
    """Supervisor of all workers; used once, on one event loop."""

    def __init__(self, settings: Settings, listener: socket.socket, admin: socket.socket | None) -> None:
        self._settings = settings
        self._listener = listener
        self._admin = admin
        self._workers: list[WorkerHandle] = []
        self._dispatchers = [Dispatcher(listener, self._workers)]
        if admin is not None:
            self._dispatchers.append(Dispatcher(admin, self._workers, ADMINISTRATION))
        self._stop_requested = False
        self._stopping = asyncio.Event()
        self._interrupted = False
        self._first_failure = ""
        self._metrics = SupervisorMetrics()
        self._past: Snapshot = {}  # counters of workers that have ended
        self._gathering = asyncio.Lock()
        self._next_gathering: asyncio.Task[Snapshot] | None = None
        self._max_wait = settings.hang_seconds
        self._uneven_looks = 0

    async def run(self) -> int:
        """Start, serve, drain; returns the exit status. Raises StartupError if no worker can be started."""
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._signalled, number)
        tried = [asyncio.Event() for _ in range(self._settings.workers or 1)]
        async with asyncio.TaskGroup() as group:
            keepers = [group.create_task(self._keep(event)) for event in tried]
            watching = group.create_task(self._watch())
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
                watching.cancel()
        if not started:
            raise StartupError(self._first_failure)
        return EXIT_INTERRUPTED if self._interrupted else EXIT_OK

    def _begin(self) -> bool:
        """Start listening; False if no worker is ready."""
        ready = [worker for worker in self._workers if worker.state == "ready"]
        if not ready:
            return False
        try:
            for dispatcher in self._dispatchers:
                dispatcher.open()
        except OSError as error:
            self._first_failure = str(error)
            return False
        welcome(ready[0].models, ready[0].obstacle, self._listener, self._admin, self._settings)
        return True

    def _signalled(self, number: signal.Signals) -> None:
        """First signal: stop, after SIGTERM with a delay in which serving goes on. Second: exit at once."""
        if self._stop_requested:
            self._interrupted = True
            self._stop()
            self._kill()
            return
        self._stop_requested = True
        delay = self._settings.drain_delay_seconds if number == signal.SIGTERM else 0
        if not delay or not self._dispatchers[0].is_open:
            self._stop()
            return
        for worker in self._workers:
            worker.leave()
        asyncio.get_running_loop().call_later(delay, self._stop)

    def _stop(self) -> None:
        """Stop accepting connections, drain every worker."""
        self._stopping.set()
        for dispatcher in self._dispatchers:
            dispatcher.close()
        for worker in self._workers:
            worker.drain()

    def _kill(self) -> None:
        for worker in self._workers:
            worker.kill()

    async def _all_ended(self, keepers: list[asyncio.Task[None]]) -> None:
        """Wait for the workers to end: ``drain_seconds`` for requests and again for models, then kill."""
        drain_seconds = self._settings.drain_seconds
        _, late = await asyncio.wait(keepers, timeout=drain_seconds + _LATE_SECONDS)
        self._max_wait = DOUBTFUL_SECONDS
        if late:
            _, late = await asyncio.wait(late, timeout=drain_seconds + _SPARE_SECONDS)
        if late:
            logger.error("workers did not end in time", extra={"workers": len(late)})

    # ---- a single worker -------------------------------------------------------------------------------------------

    async def _keep(self, tried: asyncio.Event) -> None:
        """Run one worker, and another when it has ended; ``tried`` is set once the first is ready or has ended."""
        early_ends = 0
        while not self._stopping.is_set():
            began = asyncio.get_running_loop().time()
            try:
                worker = await WorkerHandle.start(self._settings)
            except OSError as error:
                end = End("failed", f"no worker can be started: {error}")
            else:
                end = await self._follow(worker, tried)
            self._first_failure = self._first_failure or end.reason
            tried.set()
            if self._stopping.is_set():
                return
            steady = asyncio.get_running_loop().time() - began >= _STEADY_SECONDS
            early_ends = 0 if steady else early_ends + 1
            logger.error("a worker ended", extra={"how": end.how, "reason": end.reason})
            self._metrics.restarts.labels(end.how).inc()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(restart_delay(early_ends)):
                    await self._stopping.wait()

    async def _follow(self, worker: WorkerHandle, tried: asyncio.Event) -> End:
        """Handle the messages of a worker until it has ended; returns how."""
        self._workers.append(worker)
        if self._stopping.is_set():
            worker.drain()
        elif self._stop_requested:
            worker.leave()
        answers: set[asyncio.Task[None]] = set()
        async for word, content in worker.messages():
            if word == "ready":
                logger.info("a worker is ready", extra={"worker": worker.number})
                tried.set()
                self._rebalance()  # it has no connections yet, the others have all
            elif word in ("gather", "ask"):
                work = self._answer(worker, content) if word == "gather" else self._ask(worker, **content)
                task = asyncio.create_task(work)
                answers.add(task)
                task.add_done_callback(answers.discard)
            elif word == "reservations":
                for other in self._workers:
                    if other is not worker:
                        other.send_reservations(content)
            for dispatcher in self._dispatchers:
                dispatcher.update()
        end = await worker.ended()
        self._workers.remove(worker)
        self._past = merge([], [self._past, worker.metrics])
        return end

    async def _ask(self, worker: WorkerHandle, question: int, *, rescan: bool) -> None:
        """Send a worker the states of all."""
        states = await asyncio.gather(*(other.ask(rescan=rescan) for other in self._workers))
        worker.send_states(question, [state for state in states if state is not None])

    # ---- all workers -----------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Kill workers that hang, and balance connections, for ever.

        Silence is not measured by a clock: while this process is stopped together with all others, of a container or a
        suspended machine, no worker can report.
        """
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            for worker in self._workers:
                worker.silence += _WATCH_SECONDS
                patience = max(self._max_wait, _LOADING_SECONDS) if worker.state == "loading" else self._max_wait
                if worker.silence > patience and not worker.hangs:
                    logger.error("a worker hangs", extra={"worker": worker.number, "seconds": worker.silence})
                    worker.kill_as_hung()
            self._uneven_looks = self._uneven_looks + 1 if self._is_uneven() else 0
            if self._uneven_looks >= _UNEVEN_LOOKS:
                self._rebalance()

    def _is_uneven(self) -> bool:
        """True if keep-alive connections leave some workers busier than others."""
        counts = [worker.open_connections for worker in self._workers if worker.state == "ready"]
        return bool(counts) and max(counts) - min(counts) >= max(2, _UNEVEN * sum(counts) / len(counts))

    def _rebalance(self) -> None:
        """Have workers with too many connections close some, each with its next response; clients then reconnect.

        Repeating the request changes nothing for a worker, so it does not matter whether it is done with the last one.
        """
        if self._is_uneven():
            ready = [worker for worker in self._workers if worker.state == "ready"]
            fair = math.ceil(sum(worker.open_connections for worker in ready) / len(ready))
            for worker in ready:
                if worker.open_connections > fair:
                    worker.shed(fair)

    # ---- metrics ---------------------------------------------------------------------------------------------------

    async def _answer(self, worker: WorkerHandle, question: int) -> None:
        """Send a worker the metrics of all."""
        if self._next_gathering is None:
            self._next_gathering = asyncio.create_task(self._gather())
        worker.send_gathered(question, await self._next_gathering)

    async def _gather(self) -> Snapshot:
        """The metrics of all processes; concurrent callers share one collection, so that polling is cheap."""
        async with self._gathering:
            self._next_gathering = None
            await asyncio.gather(*(worker.collect(_COLLECT_SECONDS) for worker in self._workers))
            present = [worker.metrics for worker in self._workers if worker.answers]
            silent = [worker.metrics for worker in self._workers if not worker.answers]
            return merge([*present, snapshot(self._metrics.registry)], [self._past, *silent])
