"""Workers that are silent, and a process without a supervisor whose event loop stands still."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from emo_serve.process.ipc import Channel
from emo_serve.process.supervisor import Supervisor
from emo_serve.process.worker_handle import DOUBTFUL_SECONDS, WorkerHandle
from emo_serve.settings import Settings
from tests.helpers.processes import connect, metric, scraped
from tests.process.wire import HEAD, IMAGE
from tests.serving import Command, commanded, eventually, runs, until

HANG_SECONDS = 3

SPIN = """
import asyncio, time
from emo_serve.process.watchdog import watchdog

def spin():
    while True:
        time.sleep(0)

async def main():
    async with watchdog(2):
        await asyncio.sleep(0.1)
        spin()

asyncio.run(main())
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Command]:
    (tmp_path / "models").mkdir()
    environment = {"EMO_HANG_SECONDS": f"{HANG_SECONDS}", "EMO_DRAIN_SECONDS": "2"}
    with commanded(tmp_path / "models", tmp_path / "log", 2, **environment) as server:
        eventually(lambda: len(server.workers()) == 2)
        yield server


def restarts(server: Command, reason: str) -> float:
    return metric(scraped(server), "emo_worker_restarts_total", reason=reason)


def test_a_worker_that_hangs_is_killed_and_replaced_and_counted(server: Command) -> None:
    victim = server.workers()[0]
    os.kill(victim, signal.SIGSTOP)
    eventually(lambda: not runs(victim))
    eventually(lambda: len(server.workers()) == 2)
    assert (restarts(server, "hung"), restarts(server, "killed")) == (1, 0)


def test_nobody_is_killed_where_all_were_stopped_together(server: Command) -> None:
    workers = server.workers()
    everybody = [server.process.pid, *workers]
    for process in everybody:
        os.kill(process, signal.SIGSTOP)
    end = time.monotonic() + 2 * HANG_SECONDS
    eventually(lambda: time.monotonic() > end)
    for process in everybody:
        os.kill(process, signal.SIGCONT)
    with contextlib.closing(connect(server)):
        assert restarts(server, "hung") == 0
    assert server.workers() == workers


def test_a_stop_does_not_wait_for_a_worker_that_hangs(server: Command) -> None:
    """Longer than the drain, and the little more that it takes to see that one is silent."""
    victim, other = server.workers()
    os.kill(victim, signal.SIGSTOP)
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 2 + 1 + DOUBTFUL_SECONDS + 1
    assert not runs(victim)
    assert not runs(other)


def test_where_nobody_supervises_a_process_whose_event_loop_stands_still_ends_with_its_stack() -> None:
    ended = subprocess.run([sys.executable, "-c", SPIN], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "the event loop hangs: the process ends" in ended.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_models_that_are_measured_at_start_are_not_taken_for_a_process_that_hangs(tmp_path: Path, workers: int) -> None:
    (tmp_path / "models").mkdir()
    environment = {"EMO_HANG_SECONDS": "2", "EMO_TUNE": "true", "EMO_CACHE_DIR": str(tmp_path / "cache")}
    with commanded(tmp_path / "models", tmp_path / "log", workers, **environment) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as upload:
            upload.sendall(HEAD + IMAGE)
            assert upload.recv(12) == b"HTTP/1.1 200"
        assert "hangs" not in server.log.read_text()


# ---- without processes ----


class Worker:
    """The far ends of a worker's sockets, and what is done to its process."""

    def __init__(self) -> None:
        self.signals: list[signal.Signals] = []
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        connections, self.connections = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ends = near, far, connections
        self.status = asyncio.Event()

    async def start(self) -> None:
        near, far, connections = self._ends
        process = cast("Any", SimpleNamespace(pid=1, wait=self._wait, send_signal=self._signalled))
        self.child = WorkerHandle(process, await Channel.over(near), connections)
        self.channel = await Channel.over(far)

    def _signalled(self, number: signal.Signals) -> None:
        self.signals.append(number)
        self.status.set()

    async def _wait(self) -> int:
        await self.status.wait()
        await self.channel.close()
        return -int(self.signals[-1]) if self.signals else 0


@pytest.mark.anyio
@pytest.mark.parametrize(("state", "is_killed"), [("ready", True), ("loading", False)])
async def test_a_worker_that_loads_may_be_silent_for_longer(
    state: str,
    is_killed: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("emo_serve.process.supervisor._WATCH_SECONDS", 0.05)
    async with contextlib.AsyncExitStack() as closing:
        supervisor = Supervisor(Settings(workers=2, hang_seconds=2), closing.enter_context(socket.socket()), None)
        worker = Worker()
        await worker.start()
        closing.enter_context(worker.connections)
        worker.child.state = cast("Any", state)
        supervisor._workers.append(worker.child)
        watching = asyncio.create_task(supervisor._watch())
        await until(lambda: worker.child.silence > 2.5 or bool(worker.signals))
        assert worker.signals[:1] == [signal.SIGKILL] * is_killed
        assert worker.child.takes_connections is False
        watching.cancel()
        await worker.channel.close()
        await worker.child._channel.close()
        worker.child._connections.close()


@pytest.mark.parametrize(
    ("status", "failure", "hangs", "how"),
    [
        (0, "", False, "exited"),
        (1, "", False, "exited"),
        (1, "no model can be served", False, "failed"),
        (-signal.SIGKILL, "", False, "killed"),
        (-signal.SIGSEGV, "", False, "crashed"),
        (-signal.SIGABRT, "", False, "crashed"),
        (-signal.SIGKILL, "", True, "hung"),
    ],
)
def test_why_a_worker_was_replaced_is_told_by_how_it_ended(
    status: int,
    failure: str,
    hangs: bool,
    how: str,
) -> None:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with near, far:
        child = WorkerHandle(cast("Any", SimpleNamespace(pid=1)), cast("Any", None), near)
        child.failure, child.hangs = failure, hangs
        assert child._how(status).how == how
