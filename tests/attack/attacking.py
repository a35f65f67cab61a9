"""A server to attack, what that costs it, and what its other clients notice meanwhile."""

import contextlib
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.support import encode_image, plain, write_classifier

PATIENCE_SECONDS = 60  # when a scenario gives up
IMAGE = encode_image(plain("red"))
PICTURE = ("Content-Type: image/png", f"Content-Length: {len(IMAGE)}")
NEIGHBOUR = "127.0.0.2"  # another client on the same machine
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Finding:
    """A figure, and the most that it may be."""

    what: str
    value: float
    unit: str
    bound: float

    @property
    def holds(self) -> bool:
        return self.value <= self.bound


@dataclass(frozen=True, slots=True)
class Server:
    """The command, running with toy models."""

    process: subprocess.Popen[str]
    port: int
    folder: Path
    """Of its models (``models/``) and its log (``log``)."""

    def processes(self) -> list[int]:
        """The process ids of the command and of its workers."""
        main = self.process.pid
        return [main, *map(int, Path(f"/proc/{main}/task/{main}/children").read_text().split())]

    def cpu_seconds(self) -> float:
        """CPU seconds of all its processes since their start."""
        total = 0.0
        for process in self.processes():
            fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
            total += (int(fields[11]) + int(fields[12])) / _TICKS
        return total

    def megabytes(self, *, most: bool = False) -> float:
        """Memory of all its processes, now or at ``most``."""
        name = "VmHWM:" if most else "VmRSS:"
        statuses = (Path(f"/proc/{process}/status").read_text() for process in self.processes())
        return sum(int(status.partition(name)[2].split()[0]) / 1024 for status in statuses)

    def connected(self, source: str = "127.0.0.1") -> socket.socket:
        """A connection from one of the addresses of this machine."""
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE_SECONDS, (source, 0))

    def asked(self, *pieces: bytes, source: str = "127.0.0.1") -> bytes:
        """All that is answered on a connection of its own, however it ends."""
        answer = b""
        with contextlib.suppress(OSError), self.connected(source) as connection:
            with contextlib.suppress(OSError):  # it may be refused before it has sent all
                for piece in pieces:
                    connection.sendall(piece)
            while received := connection.recv(65536):
                answer += received
        return answer


@contextlib.contextmanager
def attacked(
    checkout: Path, workers: int = 1, files: int | None = None, prepare: Callable[[Path], object] | None = None
) -> Iterator[Server]:
    """A server from a checkout, with so many processes and, if given, that many open files at most.

    ``prepare`` gets the folder of its models, in which there is a classifier, before it starts.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = folder / "models"
        write_classifier(models)
        if prepare is not None:
            prepare(models)
        command = [sys.executable, "-m", "emo_serve", "serve", "--port", "0", "--models", str(models), "--no-tune"]
        limited = f"ulimit -n {files}; " if files else ""
        with (
            (folder / "log").open("w") as log,
            subprocess.Popen(
                ["bash", "-c", f'{limited}exec "$@"', "bash", *command, "--workers", str(workers)],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=checkout,
            ) as process,
        ):
            assert process.stdout
            try:
                welcome = process.stdout.readline()
                assert welcome, (folder / "log").read_text()
                yield Server(process, int(welcome.split("http://127.0.0.1:")[1].split(maxsplit=1)[0]), folder)
            finally:
                process.kill()


class Neighbour:
    """Another client, which asks for the same again and again while the server is attacked."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._waits = [0.0]
        self.failed = 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    @property
    def longest(self) -> float:
        """Seconds that one of its requests took; those that were not answered count as so long as they took."""
        return max(self._waits)

    def _ask(self) -> None:
        request = head("POST", "/classify", *PICTURE, "Connection: close")
        while not self._is_over.is_set():
            began = time.monotonic()
            self.failed += not self._server.asked(request + IMAGE, source=NEIGHBOUR).startswith(b"HTTP/1.1 200")
            self._waits.append(time.monotonic() - began)
            self._is_over.wait(0.05)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *ended: object) -> None:
        self._is_over.set()
        self._thread.join()

    def findings(self, most_seconds: float = 1.0) -> list[Finding]:
        return [
            Finding("a neighbour's longest request", self.longest, "s", most_seconds),
            Finding("a neighbour's failed requests", self.failed, "", 0),
        ]


def head(method: str, path: str, *headers: str) -> bytes:
    """The head of a request."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


CHUNKED = head("POST", "/classify", "Content-Type: image/png", "Transfer-Encoding: chunked")
LIVE = head("GET", "/livez")
LAST = head("GET", "/livez", "Connection: close")


def cost_of(server: Server, act: Callable[[], object]) -> tuple[float, float]:
    """Seconds of CPU time and megabytes that the server spends while something is done to it."""
    cpu, memory = server.cpu_seconds(), server.megabytes()
    act()
    time.sleep(0.2)  # what it does about the last of it
    return server.cpu_seconds() - cpu, server.megabytes(most=True) - memory


def statuses(answer: bytes) -> list[int]:
    """The statuses of all answers in what came back."""
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:] if part[:3].isdigit()]


def allow_many_files() -> None:
    """Let this process have as many connections as the scenarios need."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
