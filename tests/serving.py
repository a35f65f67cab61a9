"""The whole server with toy models: in this process, behind a real socket, or as the command with its processes."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvicorn
from fastapi import FastAPI
from numpy.typing import NDArray

from emo_serve.api.http.services import Services
from emo_serve.engine.execution.session import OpenSession, Session, open_session
from emo_serve.engine.registry.preflight import Preflight
from emo_serve.engine.repository.artefacts import Artefact
from emo_serve.main import create_app
from emo_serve.process.http_protocol import HttpProtocol
from emo_serve.settings import Settings
from tests.support import write_classifier, write_detector


def settings_for(models: Path, **changes: Any) -> Settings:  # noqa: ANN401  each setting has its own type
    """Settings for a folder of toy models, which is filled when it is empty."""
    if not any(models.iterdir()):
        write_classifier(models)
        write_detector(models)
    return Settings(models=models, **changes)


@contextlib.asynccontextmanager
async def in_process(
    settings: Settings, open_session: OpenSession = open_session, preflight: Preflight | None = None
) -> AsyncIterator[tuple[httpx.AsyncClient, Services]]:
    """A client that calls the application directly, and what the application works with."""
    app = create_app(settings, open_session, preflight=preflight)
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
def running(
    settings: Settings,
    open_session: OpenSession = open_session,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> Iterator[Running]:
    """Give uvicorn with the application on a port of its own, on uvicorn's choice of an event loop or on another."""
    app = create_app(settings, open_session)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = _Server(
        uvicorn.Config(app, http=HttpProtocol, ws="none", lifespan="on", log_config=None, access_log=False)
    )

    def run() -> None:
        with asyncio.Runner(loop_factory=loop_factory or server.config.get_loop_factory()) as runner:
            runner.run(server.serve([listener]))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert server.listening.wait(60)
        yield Running(app, port, server)
    finally:
        server.should_exit = True
        thread.join(20)


def emo_serve(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """The command, just started."""
    return subprocess.Popen(
        [sys.executable, "-m", "emo_serve", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


@dataclass(frozen=True, slots=True)
class Command:
    """The command ``emo-serve serve --workers N``, running."""

    process: subprocess.Popen[str]
    port: int
    log: Path
    admin_port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def workers(self) -> list[int]:
        """The process ids of the workers that are there now, in the order in which they became ready."""
        lines = map(json.loads, self.log.read_text(encoding="utf-8").splitlines())
        return [line["worker"] for line in lines if line["message"] == "a worker is ready" and runs(line["worker"])]

    def refuses(self) -> bool:
        """True if it accepts no more connections."""
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=20).close()
        except ConnectionRefusedError:
            return True
        return False

    def stop(self) -> int:
        """Tell it to stop; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@contextlib.contextmanager
def commanded(models: Path, log: Path, workers: int, **environment: str) -> Iterator[Command]:
    """Give the command with so many processes on a port of its own."""
    settings_for(models)
    command = [
        sys.executable,
        "-m",
        "emo_serve",
        "serve",
        "--workers",
        str(workers),
        "--port",
        "0",
        "--models",
        str(models),
    ]
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=os.environ | environment
        ) as process,
    ):
        assert process.stdout
        welcome = process.stdout.readline()
        assert welcome, log.read_text()
        try:
            admin_port = 0
            if "EMO_ADMIN_PORT" in environment:
                process.stdout.readline()  # what to try
                admin_port = _port(process.stdout.readline())
            yield Command(process, _port(welcome), log, admin_port)
        finally:
            process.kill()


def _port(line: str) -> int:
    return int(line.split("http://127.0.0.1:")[1].split(maxsplit=1)[0])


def free_port() -> int:
    """A TCP port that nobody has now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def runs(process: int) -> bool:
    """True if there is such a process that has not ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def eventually(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Return when ``condition()`` holds in another process."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


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
