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
from typing import Any, NoReturn, cast

import uvicorn
from fastapi import FastAPI
from uvicorn.server import ServerState

from emo_serve.api.http.services import Services
from emo_serve.engine.registry.preflight import Preflight
from emo_serve.engine.registry.trial_process import forked
from emo_serve.main import create_admin_app, create_app
from emo_serve.process.connections import Connections
from emo_serve.process.exit_codes import EXIT_INTERRUPTED, EXIT_OK, EXIT_STARTUP, leave
from emo_serve.process.http_protocol import HttpProtocol
from emo_serve.process.listeners import listen, listeners, welcome
from emo_serve.process.watchdog import watchdog
from emo_serve.settings import Settings


def serve(settings: Settings) -> NoReturn:
    """Serve until a signal comes, then end the process; raises StartupError or OSError where that cannot begin."""
    preflight = Preflight(settings, forked())
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(settings, preflight))


def loop_factory() -> Callable[[], AbstractEventLoop] | None:
    """What makes the fastest event loop that is installed."""
    return uvicorn.Config("", loop="auto", log_config=None).get_loop_factory()


async def _serve(settings: Settings, preflight: Preflight) -> NoReturn:
    # Before there is anything to drain; the first process of a container would ignore the signal.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leave, EXIT_OK)
    app = create_app(settings, preflight=preflight)
    with listeners(settings) as (listener, admin):
        # The lifespan is run here and not by uvicorn, so that a StartupError arrives as it is, without a traceback.
        async with app.router.lifespan_context(app):
            services: Services = app.state.services
            async with watchdog(settings.hang_seconds):
                await _ListeningServer(app, services, admin).serve([listener])
    leave(exit_status(services))  # from here, because the runner would wait for threads too


def exit_status(services: Services) -> int:
    """0 after a clean stop, 1 where a batcher has died."""
    return EXIT_OK if services.catalog.alive else EXIT_STARTUP


def models_of(services: Services) -> str:
    """What is served, for people."""
    return ", ".join(f"{entry.manifest.name} {entry.manifest.version}" for entry in services.catalog.all())


def _config(app: FastAPI, settings: Settings, http: Callable[..., asyncio.Protocol]) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", http),  # it is only called
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # whom to believe is EMO_CLIENT_HEADER's matter
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=math.ceil(settings.drain_seconds),
    )


class DrainingServer(uvicorn.Server):
    """uvicorn, told by a signal to drain; it says so in /readyz and ends with exit code 0."""

    def __init__(self, app: FastAPI, services: Services) -> None:
        self.services = services
        self.connections = Connections.of(services.settings)
        super().__init__(_config(app, services.settings, partial(self.protocol, connections=self.connections)))
        self.admin_config: uvicorn.Config | None = None
        if services.settings.admin_port is not None:
            # Whoever administers gets in however many others there are.
            self.admin_config = _config(create_admin_app(services), services.settings, self.protocol)

    def protocol(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        connections: Connections | None = None,
    ) -> HttpProtocol:
        """What speaks on a new connection."""
        return HttpProtocol(config, server_state, app_state, _loop, self.services.settings.http, connections)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take what has been made until now for permanent."""
        gc.collect()
        gc.freeze()  # or the event loop would stand still for some 45 ms whenever the collector looks through all of it
        await super().startup(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Unlike the original, go on when the server has stopped: the models have not yet."""
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self.handle_exit, number, None)
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  uvicorn's own signature
        """Accept no more connections and finish what is there."""
        self.services.drain.set()
        self.should_exit = True


class _ListeningServer(DrainingServer):
    """Accepts its connections itself."""

    def __init__(self, app: FastAPI, services: Services, admin: socket.socket | None) -> None:
        super().__init__(app, services)
        self._admin = admin

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say where; raises OSError, which says which address cannot be had."""
        for listener in (*(sockets or ()), *filter(None, [self._admin])):
            listen(listener)
        await super().startup(sockets)
        if self._admin is not None and self.admin_config is not None:
            protocol = partial(self.protocol, self.admin_config, self.server_state, {})
            self.servers.append(await asyncio.get_running_loop().create_server(protocol, sock=self._admin))
        welcome(models_of(self.services), (sockets or [])[0], self._admin)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal: leave, after a SIGTERM with a delay in which serving goes on. The second: end at once."""
        if self.services.drain.is_set():
            os._exit(EXIT_INTERRUPTED)  # not by the signal itself, which the first process of a container ignores
        self.services.drain.set()
        is_wanted = sig == signal.SIGTERM and self.services.catalog.alive
        delay = self.services.settings.drain_delay_seconds if is_wanted else 0
        asyncio.get_running_loop().call_later(delay, super().handle_exit, sig, frame)
