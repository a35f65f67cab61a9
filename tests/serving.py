"""The whole server with toy models: in this process, or behind a real socket."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvicorn
from fastapi import FastAPI
from numpy.typing import NDArray

from app.api.services import Services
from app.engine.deployment import OpenSession, open_session
from app.engine.repository import Artefact
from app.engine.session import Session
from app.main import create_app
from app.settings import Settings
from tests.support import write_classifier, write_detector


def settings_for(models: Path, **changes: Any) -> Settings:  # noqa: ANN401  each setting has its own type
    """Settings for a folder of toy models, which is filled when it is empty."""
    if not any(models.iterdir()):
        write_classifier(models)
        write_detector(models)
    return Settings(models=models, **changes)


@contextlib.asynccontextmanager
async def in_process(
    settings: Settings, open_session: OpenSession = open_session
) -> AsyncIterator[tuple[httpx.AsyncClient, Services]]:
    """A client that calls the application directly, and what the application works with."""
    app = create_app(settings, open_session)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            yield client, app.state.services


@dataclass(frozen=True, slots=True)
class Running:
    """A server in a thread of this process."""

    app: FastAPI
    port: int
    server: uvicorn.Server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def services(self) -> Services:
        services = self.app.state.services
        assert isinstance(services, Services)
        return services


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


@contextlib.contextmanager
def running(settings: Settings, open_session: OpenSession = open_session) -> Iterator[Running]:
    """Give uvicorn with the application on a port of its own."""
    app = create_app(settings, open_session)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = _Server(uvicorn.Config(app, http="httptools", ws="none", lifespan="on", log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        assert server.listening.wait(20)
        yield Running(app, port, server)
    finally:
        server.should_exit = True
        thread.join(20)


class GatedSession:
    """A real session whose runs wait at a gate; it keeps how many images it has computed."""

    def __init__(self, session: Session) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.computed = 0
        self.waiting = False
        self._session = session

    def run(self, batch: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        self.waiting = not self.gate.is_set()
        assert self.gate.wait(20)
        self.computed += len(batch)
        return self._session.run(batch)


class Gates:
    """Opens the sessions of a catalog and keeps them, by model."""

    def __init__(self) -> None:
        self.sessions: dict[str, GatedSession] = {}

    def open_session(self, artefact: Artefact, settings: Settings) -> Session:
        session = GatedSession(open_session(artefact, settings))
        self.sessions[artefact.manifest.name] = session
        return session


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Return when ``condition()`` holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  what is waited for happens in another thread
            await asyncio.sleep(0.005)
