"""Attacks by one worker, or one version of a model, on all others: it hangs, ends, or never ends its self-test.

Each scenario starts a server of its own and takes less than half a minute.
"""

import contextlib
import http.client
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.attack.attacking import Finding
from tests.helpers.processes import connect, connections_of
from tests.hostile import endless
from tests.load.clients import Answer, Clients, Post
from tests.serving import Command, commanded, eventually, runs
from tests.support import encode_image, plain, write_classifier

CLIENTS = 16
RATE = 400  # requests a second, of all of them
HANG_SECONDS = 3.0
LOAD_SECONDS = 2.0
TOKEN = "for the tests only"  # noqa: S105  # as it says
IMAGE = encode_image(plain("red"))
PNG = {"Content-Type": "image/png"}


@contextlib.contextmanager
def server(workers: int, **environment: str) -> Iterator[tuple[Command, Path]]:
    """Give the command with so many workers, and its repository."""
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        models.mkdir()
        own = {"EMO_TUNE": "false", "EMO_LOG_LEVEL": "info", "EMO_CACHE_DIR": f"{folder}/cache"}
        with commanded(models, Path(folder) / "log", workers, **own | environment) as command:
            yield command, models


def hung_worker() -> list[Finding]:
    """A worker is stopped: how long its clients wait until they can go elsewhere."""
    with server(2, EMO_HANG_SECONDS=f"{HANG_SECONDS:g}") as (command, _):
        clients = [connect(command) for _ in range(8)]
        victim = command.workers()[0]
        os.kill(victim, signal.SIGSTOP)
        began = time.monotonic()
        try:
            for client in clients:
                client.request("POST", "/classify", IMAGE, PNG)
            lost = sum(not answered(client) for client in clients)
            seconds = time.monotonic() - began
            assert lost == len(clients) // 2, lost  # the others have their answers
            eventually(lambda: not runs(victim))
            eventually(lambda: len(command.workers()) == 2)
            assert all(httpx.get(f"{command.url}/readyz", timeout=20).is_success for _ in range(4))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
            for client in clients:
                client.close()
    return [Finding("a worker hangs: its clients wait", seconds, "s", HANG_SECONDS + 3)]


def replaced_worker() -> list[Finding]:
    """A worker of two is killed under load: how many of 16 lasting connections the fuller one has 5 seconds later."""
    with server(2) as (command, _):
        eventually(lambda: len(command.workers()) == 2)
        first, second = command.workers()
        idle = connections_of(first)
        with lasting_load(command) as load:
            eventually(lambda: load.answers > 200)
            os.kill(second, signal.SIGKILL)
            eventually(lambda: not runs(second))
            eventually(lambda: len(command.workers()) == 2)
            lost = load.lost
            time.sleep(5)
            fuller = max(connections_of(worker) - idle for worker in command.workers())
            assert load.lost == lost, load.lost  # nothing is lost by evening out
    return [Finding("a worker is replaced: 16 connections, the fuller of two has", fuller, "connections", 9)]


def endless_self_test() -> list[Finding]:
    """A version that never ends is added: how long until it is given up, or the server ends, whichever is longer."""
    environment = {"EMO_ADMIN_PORT": "0", "EMO_ADMIN_TOKEN": TOKEN, "EMO_LOAD_SECONDS": f"{LOAD_SECONDS:g}"}
    with server(2, **environment) as (command, models):
        endless(models, "2")
        began = time.monotonic()
        answer = administer(command, "POST", "/models/toy-classifier/2")
        seconds = time.monotonic() - began
        assert answer.status_code == 409, answer.text
        assert "was not loaded and tested within" in answer.text
        write_classifier(models, version="3")
        assert administer(command, "POST", "/models/toy-classifier/3").status_code == 200
        failures = httpx.get(f"{command.url}/models", timeout=20).json()["failures"]
        assert [failure["path"] for failure in failures] == ["toy-classifier/2"], failures
        rescanning = threading.Thread(target=administer_in_vain, args=(command, "POST", "/rescan"))
        rescanning.start()
        time.sleep(0.5)
        began = time.monotonic()
        assert command.stop() == 0
        seconds = max(seconds, time.monotonic() - began)
        rescanning.join()
    return [Finding("a self-test never ends: given up, and the server ended, within", seconds, "s", LOAD_SECONDS + 10)]


def administer(command: Command, method: str, path: str) -> httpx.Response:
    url = f"http://127.0.0.1:{command.admin_port}{path}"
    return httpx.request(method, url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60)


def administer_in_vain(command: Command, method: str, path: str) -> None:
    with contextlib.suppress(httpx.HTTPError):
        administer(command, method, path)


def answered(connection: http.client.HTTPConnection) -> bool:
    """True if the answer comes."""
    try:
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException):
        return False
    return response.status == 200


@dataclass(slots=True)
class Lasting:
    """Outcomes of the requests of clients that keep their connections."""

    answers: int = 0
    lost: int = 0
    closed: int = 0  # by the server, with an answer

    def note(self, _number: int, _due: float, answer: Answer) -> None:
        self.answers += answer.status == 200
        self.lost += answer.status != 200
        self.closed += answer.headers.get("Connection") == "close"


@contextlib.contextmanager
def lasting_load(command: Command) -> Iterator[Lasting]:
    """Give 16 clients that ask as long as the block lasts."""
    load = Lasting()
    post = Post("/classify", IMAGE, "image/png")
    with Clients(command.url, CLIENTS, lambda _: post, load.note, RATE):
        yield load
