"""One worker process, as the supervisor sees it."""

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

from emo_serve.metrics.definitions import Ending
from emo_serve.metrics.merge import Snapshot
from emo_serve.process.ipc import Channel, Message
from emo_serve.settings import Settings

_MODULE = "emo_serve.process.worker"  # by name: the supervisor itself loads neither models nor what runs them
PATIENCE_SECONDS = 1.0
"""How long others wait for a worker that has the fewest connections and many to take over."""

_MAX_UNTAKEN = 64  # connections that a worker has not taken over yet; a worker that hangs gets no more than these
DOUBTFUL_SECONDS = 2.5
"""Of silence, after which a worker is given no more connections: it speaks every second."""
_CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS)


class End(NamedTuple):
    """How a worker ended, and that in words."""

    how: Ending
    reason: str


class Child:
    """A running worker; used on one event loop."""

    def __init__(self, process: asyncio.subprocess.Process, channel: Channel, connections: socket.socket) -> None:
        self.state: Literal["loading", "ready", "draining"] = "loading"
        self.models = ""
        self.failure = ""
        self.silence = 0.0  # seconds, of those that the supervisor was awake, since it was heard last
        self.hangs = False
        self.metrics: Snapshot = {}
        self.last_served = 0  # the dispatcher's mark: when it was given its last connection
        self._process = process
        self._channel = channel
        self._connections = connections
        self._sent = 0
        self._taken = 0
        self._heard = 0.0  # monotonic, when it last had nothing left to take over, or took something
        self._closed = 0
        self._unanswered: asyncio.Event | None = None
        self._questions = itertools.count()
        self._asked: dict[int, asyncio.Future[dict[str, Any] | None]] = {}

    @classmethod
    async def start(cls, settings: Settings) -> "Child":
        """Start a worker with a fresh interpreter; raises OSError where the system gives no process."""
        control, its_control = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        connections, its_connections = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its_control, its_connections, contextlib.ExitStack() as on_failure:
            on_failure.callback(control.close)
            on_failure.callback(connections.close)
            numbers = (its_control.fileno(), its_connections.fileno())
            process = await asyncio.create_subprocess_exec(
                # It imports from where this process does, and never from the folder where it happens to be started.
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
        """How many it has, those included that it has not taken over yet."""
        return self._sent - self._closed

    @property
    def takes_connections(self) -> bool:
        """Whether one more can be handed over now."""
        is_there = self.state == "ready" and self.silence <= DOUBTFUL_SECONDS
        return is_there and self._sent - self._taken < _MAX_UNTAKEN

    def shed(self, most: int) -> None:
        """Tell it to end connections with their next answers, so that no more than so many stay."""
        self._channel.send("shed", most)

    @property
    def will_take_connections(self) -> bool:
        """Whether it can be handed one more soon: it has many to take over, and took some a moment ago."""
        return self.state == "ready" and time.monotonic() - self._heard < PATIENCE_SECONDS

    def hand_over(self, connection: socket.socket, kind: bytes) -> bool:
        """Pass the connection on, with what it is for; False where that fails, and the worker gets no more.

        Mostly because it has just ended.
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
        """What it says, after what concerns this object has been noted; ends with the process."""
        async for word, content in self._channel.messages():
            self.silence = 0.0
            match word:
                case "ready":
                    self.state, self.models = "ready", content
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
        """How it ended, when it has."""
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
        """Renew ``metrics``, unless that takes longer than so many seconds."""
        if self.state == "loading":
            return
        if self._unanswered is None:  # a worker that hangs is not asked again and again
            self._unanswered = asyncio.Event()
            self._channel.send("collect")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._unanswered.wait()

    @property
    def answers(self) -> bool:
        """Whether ``metrics`` is what it said when it was last asked."""
        return self._unanswered is None

    def send_gathered(self, question: int, metrics: Snapshot) -> None:
        """Answer its question for the metrics of all workers."""
        self._channel.send("gathered", {"question": question, "metrics": metrics})

    async def ask(self, *, rescan: bool) -> dict[str, Any] | None:
        """What it serves, after it has followed the repository if that is asked; None if it ends meanwhile."""
        if self.state != "ready":
            return None
        number = next(self._questions)
        self._asked[number] = asyncio.get_running_loop().create_future()
        self._channel.send("state", {"question": number, "rescan": rescan})
        return await self._asked[number]

    def send_states(self, question: int, states: list[dict[str, Any]]) -> None:
        """Answer its question for what all workers serve."""
        self._channel.send("states", {"question": question, "states": states})

    def send_news(self, news: list[Any]) -> None:
        """Pass on what another worker tells of booked moments."""
        if self.state == "ready":
            self._channel.send("news", news)

    def _answered(self) -> None:
        if self._unanswered is not None:
            self._unanswered.set()
            self._unanswered = None

    # ---- the end ---------------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """Tell it to say that the server stops, and to serve on."""
        self._channel.send("leave")

    def drain(self) -> None:
        """Tell it to finish what it has, and end."""
        self._end_connections()
        self._signal(signal.SIGTERM)

    def kill_as_hung(self) -> None:
        """End it at once, because it does not speak any more; its connections end with it."""
        self.hangs = True
        self._end_connections()
        self.kill()

    def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)

    def _end_connections(self) -> None:
        """Say that no connection follows: it can then take over the last ones and know that it has them all."""
        self.state = "draining"
        self._connections.close()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
