"""The supervisor's handle of one worker process."""

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any, Literal, NamedTuple

from emo_serve.metrics.merge import Snapshot
from emo_serve.metrics.process import Ending
from emo_serve.process.ipc import Channel, Message
from emo_serve.settings import Settings

_MODULE = "emo_serve.process.worker"  # by name, as the supervisor imports neither models nor the runtime
PATIENCE_SECONDS = 1.0
"""Time to wait for a worker that has the fewest connections and many to take over."""

_MAX_UNTAKEN = 64  # connections sent to a worker that it has not taken over; a hanging worker gets no more than these
DOUBTFUL_SECONDS = 2.5
"""Seconds of silence after which a worker gets no more connections: it sends a heartbeat every second."""
_CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS)


class End(NamedTuple):
    """The kind of a worker's end, and a description."""

    how: Ending
    reason: str


class WorkerHandle:
    """A running worker; used on one event loop."""

    def __init__(self, process: asyncio.subprocess.Process, channel: Channel, connections: socket.socket) -> None:
        self.state: Literal["loading", "ready", "draining"] = "loading"
        self.models = ""
        self.obstacle = ""  # why it is not ready although it answers
        self.failure = ""
        self.silence = 0.0  # seconds since the last message, counted while the supervisor runs
        self.hangs = False
        self.metrics: Snapshot = {}
        self.last_served = 0  # set by the dispatcher with every connection
        self._process = process
        self._channel = channel
        self._connections = connections
        self._sent = 0
        self._taken = 0
        self._heard = 0.0  # monotonic: when it last took a connection over or had none to take
        self._closed = 0
        self._unanswered: asyncio.Event | None = None
        self._questions = itertools.count()
        self._asked: dict[int, asyncio.Future[dict[str, Any] | None]] = {}

    @classmethod
    async def start(cls, settings: Settings) -> "WorkerHandle":
        """Start a worker in a new interpreter; raises OSError if the system gives no process."""
        control, its_control = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        connections, its_connections = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its_control, its_connections, contextlib.ExitStack() as on_failure:
            on_failure.callback(control.close)
            on_failure.callback(connections.close)
            numbers = (its_control.fileno(), its_connections.fileno())
            process = await asyncio.create_subprocess_exec(
                # It imports from the same paths as this process, never from the current folder.
                *(sys.executable, "-P", "-m", _MODULE, *map(str, numbers)),
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
                stdin=subprocess.DEVNULL,
                pass_fds=numbers,
                process_group=0,  # Ctrl-C in a terminal is for the supervisor, which then tells the workers
            )
            on_failure.pop_all()
        connections.settimeout(0)
        channel = await Channel.over(control)
        channel.send("settings", settings.model_dump(mode="json"))
        return cls(process, channel, connections)

    @property
    def number(self) -> int:
        """The process id."""
        return self._process.pid

    # ---- connections -----------------------------------------------------------------------------------------------

    @property
    def open_connections(self) -> int:
        """Number of connections, including those not taken over yet."""
        return self._sent - self._closed

    @property
    def takes_connections(self) -> bool:
        """True if another connection can be handed over now."""
        is_there = self.state == "ready" and self.silence <= DOUBTFUL_SECONDS
        return is_there and self._sent - self._taken < _MAX_UNTAKEN

    def shed(self, most: int) -> None:
        """Tell the worker to close connections with their next responses until at most this many stay."""
        self._channel.send("shed", most)

    @property
    def will_take_connections(self) -> bool:
        """True if it can soon take another connection: it has many to take over, and took some a moment ago."""
        return self.state == "ready" and time.monotonic() - self._heard < PATIENCE_SECONDS

    def hand_over(self, connection: socket.socket, kind: bytes) -> bool:
        """Pass on a connection of this kind; False if that fails, mostly because the worker has just ended.

        After a failure the worker gets no more connections.
        """
        try:
            socket.send_fds(self._connections, [kind], [connection.fileno()])
        except OSError:
            self.drain()
            return False
        if self._sent == self._taken:
            self._heard = time.monotonic()
        self._sent += 1
        return True

    def _note_connections(self, taken: int, closed: int) -> None:
        if taken > self._taken:
            self._heard = time.monotonic()
        self._taken, self._closed = taken, closed

    # ---- messages --------------------------------------------------------------------------------------------------

    async def messages(self) -> AsyncIterator[Message]:
        """Messages of the worker, after this object has processed its share; ends with the process."""
        async for word, content in self._channel.messages():
            self.silence = 0.0
            match word:
                case "ready":
                    self.state, (self.models, self.obstacle) = "ready", content
                case "failed":
                    self.failure = content
                case "draining":
                    self._end_connections()
                case "connections":
                    self._note_connections(*content)
                case "state":
                    self._asked.pop(content["question"]).set_result(content["state"])
                case "collected":
                    self.metrics = content
                    self._answered()
            yield word, content
        self._end_connections()
        self._answered()
        for asked in self._asked.values():
            asked.set_result(None)
        self._asked.clear()

    async def ended(self) -> End:
        """The kind and reason of the worker's end, once it has ended."""
        status = await self._process.wait()
        await self._channel.close()
        return self._how(status)

    def _how(self, status: int) -> End:
        if self.hangs:
            return End("hung", f"worker {self.number} hung and was killed")
        if self.failure:
            return End("failed", self.failure)
        how: Ending = "exited" if status >= 0 else "crashed" if -status in _CRASHES else "killed"
        return End(how, f"worker {self.number} ended with status {status}")

    async def collect(self, seconds: float) -> None:
        """Update ``metrics``, unless that takes longer than this many seconds."""
        if self.state == "loading":
            return
        if self._unanswered is None:  # a hanging worker is not asked repeatedly
            self._unanswered = asyncio.Event()
            self._channel.send("collect")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._unanswered.wait()

    @property
    def answers(self) -> bool:
        """True if ``metrics`` answers the last request for them."""
        return self._unanswered is None

    def send_gathered(self, question: int, metrics: Snapshot) -> None:
        """Answer the worker's request for the metrics of all workers."""
        self._channel.send("gathered", {"question": question, "metrics": metrics})

    async def ask(self, *, rescan: bool) -> dict[str, Any] | None:
        """The worker's state, after a rescan of the repository if ``rescan``; None if it ends meanwhile."""
        if self.state != "ready":
            return None
        number = next(self._questions)
        self._asked[number] = asyncio.get_running_loop().create_future()
        self._channel.send("state", {"question": number, "rescan": rescan})
        return await self._asked[number]

    def send_states(self, question: int, states: list[dict[str, Any]]) -> None:
        """Answer the worker's request for the states of all workers."""
        self._channel.send("states", {"question": question, "states": states})

    def send_reservations(self, updates: list[Any]) -> None:
        """Pass on reservations of other workers."""
        if self.state == "ready":
            self._channel.send("reservations", updates)

    def _answered(self) -> None:
        if self._unanswered is not None:
            self._unanswered.set()
            self._unanswered = None

    # ---- the end ---------------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """Tell the worker to report that the server stops, and to serve on."""
        self._channel.send("leave")

    def drain(self) -> None:
        """Tell the worker to finish its requests and exit."""
        self._end_connections()
        self._signal(signal.SIGTERM)

    def kill_as_hung(self) -> None:
        """Kill the worker because it hangs; its connections end with it."""
        self.hangs = True
        self._end_connections()
        self.kill()

    def kill(self) -> None:
        """Kill the worker."""
        self._signal(signal.SIGKILL)

    def _end_connections(self) -> None:
        """Signal that no connection follows, so that the worker knows when it has taken over the last one."""
        self.state = "draining"
        self._connections.close()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
