"""One process: uvicorn with the application, from loading the models to the drain."""

import asyncio
import contextlib
import gc
import math
import os
import signal
import socket
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import Any, NoReturn, Protocol, cast

import uvicorn
from fastapi import FastAPI
from uvicorn.server import ServerState

from emo_serve.api.http.services import Services
from emo_serve.engine.registry.preflight import Preflight
from emo_serve.engine.registry.trial_process import forked
from emo_serve.errors import StartupError
from emo_serve.main import create_admin_app, create_app
from emo_serve.process.agent_check import AgentCheck
from emo_serve.process.connections import Connections
from emo_serve.process.exit_codes import EXIT_INTERRUPTED, EXIT_OK, EXIT_STARTUP, leave
from emo_serve.process.http_protocol import HttpProtocol
from emo_serve.process.listeners import listen, listeners, reserved_ports, welcome
from emo_serve.process.watchdog import watchdog
from emo_serve.settings import Settings


def serve(settings: Settings) -> NoReturn:
    """Serve until a signal arrives, then exit; raises StartupError or OSError if the server cannot start."""
    preflight = Preflight(settings, forked())
    with (
        reserved_ports(settings) as settings,  # noqa: PLR1704  the same, with the ports that were chosen
        asyncio.Runner(loop_factory=loop_factory()) as runner,
    ):
        runner.run(_serve(settings, preflight))


def loop_factory() -> Callable[[], AbstractEventLoop] | None:
    """The factory of the fastest event loop that is installed."""
    return uvicorn.Config("", loop="auto", log_config=None).get_loop_factory()


async def _serve(settings: Settings, preflight: Preflight) -> NoReturn:
    # Needed before the server handles signals, as the first process of a container ignores this one.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leave, EXIT_OK)
    app = create_app(settings, preflight=preflight)
    with listeners(settings) as (listener, admin):
        # The lifespan is run here and not by uvicorn, so that a StartupError propagates without a traceback.
        async with app.router.lifespan_context(app):
            services: Services = app.state.services
            async with watchdog(settings.hang_seconds):
                await _ListeningServer(app, services, admin).serve([listener])
    leave(exit_status(services))  # here, because the runner would wait for threads


def exit_status(services: Services) -> int:
    """0 after a clean stop, 1 if a batcher has died."""
    return EXIT_OK if services.catalog.alive else EXIT_STARTUP


def served(services: Services) -> tuple[str, str]:
    """The served models, and why the server is not ready, empty if it is, as texts."""
    models = ", ".join(f"{entry.manifest.name} {entry.manifest.version}" for entry in services.catalog.all())
    return models, "; ".join(services.catalog.not_ready_reasons())


def _config(app: FastAPI, settings: Settings, http: Callable[..., asyncio.Protocol]) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", http),  # uvicorn only calls it
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # EMO_CLIENT_HEADER replaces it
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=math.ceil(settings.drain_seconds),
    )


class _Grpc(Protocol):
    """The server of gRPC, whose packages are an extra."""

    async def start(self) -> None: ...

    async def stop(self, seconds: float) -> None: ...


def _grpc_server(services: Services) -> _Grpc:
    """The server of gRPC, not listening yet; raises StartupError where its packages are missing."""
    try:
        from emo_serve.process.grpc_server import GrpcServer  # noqa: PLC0415  costs nothing where it is off
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in {"grpc", "google"}:
            raise
        msg = "EMO_GRPC_PORT needs packages that are an extra: pip install 'emo-serve[grpc]'"
        raise StartupError(msg) from error
    return GrpcServer(services)


class DrainingServer(uvicorn.Server):
    """uvicorn, which drains after a signal, reports that in /readyz, and exits with status 0."""

    def __init__(self, app: FastAPI, services: Services) -> None:
        self.services = services
        self.connections = Connections.of(services.settings)
        super().__init__(_config(app, services.settings, partial(self.protocol, connections=self.connections)))
        self.admin_config: uvicorn.Config | None = None
        if services.settings.admin_port is not None:
            # Connections for the administration are not limited.
            self.admin_config = _config(create_admin_app(services), services.settings, self.protocol)
        self._grpc = None if services.settings.grpc_port is None else _grpc_server(services)
        self._agent = None if services.settings.agent_port is None else AgentCheck(services.metrics)

    def protocol(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        connections: Connections | None = None,
    ) -> HttpProtocol:
        """The protocol for a new connection."""
        return HttpProtocol(config, server_state, app_state, _loop, self.services.settings.http, connections)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Exempt the objects created so far from garbage collection."""
        gc.collect()
        gc.freeze()  # otherwise each full collection would stop the event loop for some 45 ms
        await super().startup(sockets)
        if self._grpc is not None:
            await self._grpc.start()
        if self._agent is not None:
            await self._agent.start(self.services.settings.host, self.services.settings.agent_port or 0)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what was accepted, of either protocol."""
        ending = [super().shutdown(sockets)]
        if self._grpc is not None:
            ending.append(self._grpc.stop(self.services.settings.drain_seconds))
        await asyncio.gather(*ending)
        if self._agent is not None:
            self._agent.stop()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Unlike uvicorn's, do not re-raise the signal: the models have not stopped yet."""
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self.handle_exit, number, None)
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  uvicorn's own signature
        """Stop accepting connections and finish accepted requests."""
        self.services.drain.set()
        self.should_exit = True


class _ListeningServer(DrainingServer):
    """The server of a single process, which accepts its own connections."""

    def __init__(self, app: FastAPI, services: Services, admin: socket.socket | None) -> None:
        super().__init__(app, services)
        self._admin = admin

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, then print the address; raises OSError, which names the unavailable address."""
        for listener in (*(sockets or ()), *filter(None, [self._admin])):
            listen(listener)
        await super().startup(sockets)
        if self._admin is not None and self.admin_config is not None:
            protocol = partial(self.protocol, self.admin_config, self.server_state, {})
            self.servers.append(await asyncio.get_running_loop().create_server(protocol, sock=self._admin))
        welcome(*served(self.services), (sockets or [])[0], self._admin, self.services.settings)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: stop, after SIGTERM with a delay in which serving goes on. Second: exit at once."""
        if self.services.drain.is_set():
            os._exit(EXIT_INTERRUPTED)  # not by the signal, which the first process of a container ignores
        self.services.drain.set()
        is_wanted = sig == signal.SIGTERM and self.services.catalog.alive
        delay = self.services.settings.drain_delay_seconds if is_wanted else 0
        asyncio.get_running_loop().call_later(delay, super().handle_exit, sig, frame)
