"""The supervisor: owns the address, keeps the workers running, answers for all of them together."""

import asyncio
import contextlib
import logging
import math
import signal
import socket

from emo_serve.errors import StartupError
from emo_serve.metrics.definitions import SupervisorMetrics
from emo_serve.metrics.merge import Snapshot, merge, snapshot
from emo_serve.process.dispatcher import Dispatcher
from emo_serve.process.exit_codes import EXIT_INTERRUPTED, EXIT_OK
from emo_serve.process.ipc import ADMINISTRATION
from emo_serve.process.listeners import listeners, welcome
from emo_serve.process.worker_handle import DOUBTFUL_SECONDS, Child, End
from emo_serve.settings import Settings

_COLLECT_SECONDS = 1.0
_STEADY_SECONDS = 10.0  # a worker that ran so long is replaced at once when it ends
_FIRST_DELAY_SECONDS = 0.5
_LAST_DELAY_SECONDS = 30.0
_SPARE_SECONDS = 5.0
_LATE_SECONDS = 1.0  # after the drain, a worker that is silent is waited for no more
_WATCH_SECONDS = 0.5
_LOADING_SECONDS = 60.0  # of silence: an interpreter starts and imports, on a machine that does much else
_UNEVEN_LOOKS = 4  # in a row, before it counts: connections come and go
_UNEVEN = 0.2  # of the mean: by how much more connections the fullest worker may have than the emptiest

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
        self._patience = settings.hang_seconds
        self._uneven_looks = 0

    async def run(self) -> int:
        """Start, serve, drain; the exit status. Raises StartupError where no worker can be started."""
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
        drain_seconds = self._settings.drain_seconds
        _, late = await asyncio.wait(keepers, timeout=drain_seconds + _LATE_SECONDS)
        self._patience = DOUBTFUL_SECONDS
        if late:
            _, late = await asyncio.wait(late, timeout=drain_seconds + _SPARE_SECONDS)
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
                end = End("failed", f"no worker can be started: {error}")
            else:
                end = await self._follow(child, tried)
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

    async def _follow(self, child: Child, tried: asyncio.Event) -> End:
        """Listen to a worker until it has ended; gives how."""
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
                self._even_out()  # it has no connections yet, and the others all
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
        end = await child.ended()
        self._children.remove(child)
        self._past = merge([], [self._past, child.metrics])
        return end

    async def _ask(self, child: Child, question: int, *, rescan: bool) -> None:
        """Give a worker what all serve."""
        states = await asyncio.gather(*(other.ask(rescan=rescan) for other in self._children))
        child.send_states(question, [state for state in states if state is not None])

    # ---- all of them -----------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """End workers that hang, and have connections evened out, for ever.

        Silence is not measured by a clock: while this process is stopped, with all others of a container or of a
        machine that sleeps, nobody can be heard.
        """
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            for child in self._children:
                child.silence += _WATCH_SECONDS
                patience = max(self._patience, _LOADING_SECONDS) if child.state == "loading" else self._patience
                if child.silence > patience and not child.hangs:
                    logger.error("a worker hangs", extra={"worker": child.number, "seconds": child.silence})
                    child.kill_as_hung()
            self._uneven_looks = self._uneven_looks + 1 if self._is_uneven() else 0
            if self._uneven_looks >= _UNEVEN_LOOKS:
                self._even_out()

    def _is_uneven(self) -> bool:
        """Whether clients that keep their connections keep some workers busier than others."""
        counts = [child.open_connections for child in self._children if child.state == "ready"]
        return bool(counts) and max(counts) - min(counts) >= max(2, _UNEVEN * sum(counts) / len(counts))

    def _even_out(self) -> None:
        """Have workers with too many connections end some, each with its next answer; clients then connect anew.

        To be told again changes nothing for a worker; so it does not matter whether it is done with it.
        """
        if self._is_uneven():
            ready = [child for child in self._children if child.state == "ready"]
            fair = math.ceil(sum(child.open_connections for child in ready) / len(ready))
            for child in ready:
                if child.open_connections > fair:
                    child.shed(fair)

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
