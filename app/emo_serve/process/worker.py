"""A worker: a process that serves the connections which the supervisor accepts and passes on.

Started by ``worker_handle`` with the numbers of two inherited sockets, for messages and for connections. When the
messages end, the supervisor has ended, and the worker drains.
"""

import asyncio
import itertools
import math
import signal
import socket
import sys
from collections.abc import AsyncIterator
from functools import partial
from types import FrameType
from typing import Any, NoReturn

import uvicorn
from fastapi import FastAPI

from emo_serve import logs
from emo_serve.api.http.services import Services
from emo_serve.api.routes.admin import State, state_of
from emo_serve.engine.host import usable_cores
from emo_serve.engine.registry.catalog import Catalog
from emo_serve.engine.registry.preflight import Preflight
from emo_serve.engine.registry.trial_process import TrialProcess, forked
from emo_serve.engine.scheduling.retry_sync import RetrySync
from emo_serve.errors import StartupError, Unavailable
from emo_serve.main import create_app
from emo_serve.metrics.merge import Snapshot, snapshot
from emo_serve.process.connections import Connections
from emo_serve.process.exit_codes import EXIT_STARTUP, leave
from emo_serve.process.ipc import ADMINISTRATION, REQUESTS, Channel, Message
from emo_serve.process.receiver import ConnectionReceiver, ReportingProtocol
from emo_serve.process.server import DrainingServer, exit_status, loop_factory, served
from emo_serve.settings import Settings

_GATHER_SECONDS = 5.0
_BEAT_SECONDS = 1.0
_ASK_SECONDS = 300.0  # large models load slowly
_LAST_CONNECTIONS_SECONDS = 5.0
_SETTLE_SECONDS = 0.05


def main() -> NoReturn:
    """Serve until told to stop, then exit; the exit status is 0 after a clean drain."""
    control, connections = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    trial = forked()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_work_and_leave(control, connections, trial))


async def _work_and_leave(control: socket.socket, connections: socket.socket, trial: TrialProcess | None) -> NoReturn:
    leave(await _work(control, connections, trial))  # here, because the runner would wait for threads


async def _work(control: socket.socket, connections: socket.socket, trial: TrialProcess | None) -> int:
    channel = await Channel.over(control)
    beating = asyncio.create_task(_beat(channel))
    messages = channel.messages()
    _, content = await anext(messages)  # the settings come first
    settings = with_share_of_cores(Settings(**content))
    logs.configure(settings)
    retry_sync = RetrySync(partial(channel.send, "reservations"))
    supervisor = _Supervisor(channel, retry_sync)
    try:
        preflight = Preflight(settings, trial)
        app = create_app(
            settings,
            gather_metrics=supervisor.gather_metrics,
            gather_states=supervisor.gather_states,
            retry_sync=retry_sync,
            preflight=preflight,
        )
        async with app.router.lifespan_context(app):
            services: Services = app.state.services
            server = _ReceivingServer(app, services, channel, connections)
            listening = asyncio.create_task(supervisor.listen(messages, server))
            await server.serve([])
            channel.send("collected", snapshot(services.metrics.registry))  # the last message, for the totals
            listening.cancel()
            return exit_status(services)
    except StartupError as error:
        channel.send("failed", str(error))
        return EXIT_STARTUP
    finally:
        beating.cancel()
        await channel.close()


async def _beat(channel: Channel) -> None:
    """Send heartbeats of the event loop, for ever."""
    while True:
        channel.send("alive")
        await asyncio.sleep(_BEAT_SECONDS)


def with_share_of_cores(settings: Settings) -> Settings:
    """The settings of one of ``workers`` processes: threads that depend on the cores depend on its share of them.

    Only the batch size is left to be measured: workers that measure at the same time disturb each other.
    """
    share = math.ceil(usable_cores() / (settings.workers or 1))
    batching = settings.batching.model_copy(update={"instances": settings.batching.instances or share})
    return settings.model_copy(
        update={
            "decode_threads": settings.decode_threads or share,
            "batching": batching,
            "session": settings.session.model_copy(update={"intra_op_threads": settings.session.threads}),
        },
    )


class _Supervisor:
    """The supervisor as a worker sees it."""

    def __init__(self, channel: Channel, retry_sync: RetrySync) -> None:
        self._channel = channel
        self._retry_sync = retry_sync
        self._questions = itertools.count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._telling: set[asyncio.Task[None]] = set()

    async def gather_metrics(self) -> Snapshot:
        """The metrics of all workers; raises Unavailable if they do not arrive."""
        number = next(self._questions)
        metrics: Snapshot = await self._answer(number, "gather", number, _GATHER_SECONDS)
        return metrics

    async def gather_states(self, rescan: bool) -> list[State]:  # noqa: FBT001  # signature of GatherStates
        """The states of all workers; raises Unavailable if they do not arrive."""
        number = next(self._questions)
        content = {"question": number, "rescan": rescan}
        states: list[State] = await self._answer(number, "ask", content, _ASK_SECONDS)
        return states

    async def _answer(self, number: int, word: str, content: object, seconds: float) -> Any:  # noqa: ANN401  any JSON
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._channel.send(word, content)
        try:
            async with asyncio.timeout(seconds):
                return await answer
        except TimeoutError as error:
            msg = "The other workers did not answer in time."
            raise Unavailable(msg) from error
        finally:
            del self._waiting[number]

    async def listen(self, messages: AsyncIterator[Message], server: "_ReceivingServer") -> None:
        """Handle the supervisor's messages; drain when it has ended."""
        try:
            async for word, content in messages:
                if word == "collect":
                    self._channel.send("collected", snapshot(server.services.metrics.registry))
                elif word == "reservations":
                    self._retry_sync.receive(content)
                elif word == "shed":
                    server.shed(content)
                elif word == "leave":
                    server.services.drain.set()
                elif word == "state":
                    task = asyncio.create_task(self._tell(server.services.catalog, **content))
                    self._telling.add(task)
                    task.add_done_callback(self._telling.discard)
                elif word in ("gathered", "states"):
                    answer = self._waiting.get(content["question"])
                    if answer is not None and not answer.done():  # the caller may have given up
                        answer.set_result(content["metrics" if word == "gathered" else "states"])
        finally:
            server.handle_exit(signal.SIGTERM, None)

    async def _tell(self, catalog: Catalog, question: int, *, rescan: bool) -> None:
        """Send this worker's state, also if the rescan before has failed."""
        try:
            if rescan:
                await catalog.reconcile()
        finally:
            self._channel.send("state", {"question": question, "state": state_of(catalog)})


class _ReceivingServer(DrainingServer):
    """The server of a worker, which gets its connections from the supervisor."""

    def __init__(self, app: FastAPI, services: Services, channel: Channel, connections: socket.socket) -> None:
        super().__init__(app, services)
        self._channel = channel
        protocols = {REQUESTS: lambda: self._reporting(self.config, self.connections)}
        if (admin_config := self.admin_config) is not None:
            protocols[ADMINISTRATION] = lambda: self._reporting(admin_config, None)
        self._intake = ConnectionReceiver(connections, protocols, lambda *counts: channel.send("connections", counts))

    def _reporting(self, config: uvicorn.Config, connections: Connections | None) -> ReportingProtocol:
        limits = self.services.settings.http
        return ReportingProtocol(config, self.server_state, self.lifespan.state, None, limits, connections)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell the supervisor that this worker is ready for connections."""
        await super().startup(sockets)
        self._intake.start()
        self._channel.send("ready", served(self.services))

    def shed(self, most: int) -> None:
        """Let connections end with their next responses until at most this many stay, ending ones included."""
        connections = [entry for entry in self.server_state.connections if isinstance(entry, ReportingProtocol)]
        for connection in [entry for entry in connections if not entry.is_shed][most:]:
            connection.is_shed = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain: the supervisor sends a last connection and then no more."""
        if not self.should_exit:
            self._channel.send("draining")
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take over the connections already sent, and let them become requests, before idle ones are closed."""
        await self._intake.ended(_LAST_CONNECTIONS_SECONDS)
        await asyncio.sleep(_SETTLE_SECONDS)
        await super().shutdown(sockets)


if __name__ == "__main__":
    main()
