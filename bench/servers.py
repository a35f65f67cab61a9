"""Servers to compare: how each is started, asked, watched, held still and stopped."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.load.generator import request_bytes

ROOT = Path(__file__).resolve().parent.parent
PEERS = Path(__file__).resolve().parent / "peers"
ENVIRONMENTS = ROOT / ".bench"  # one virtual environment a peer
PEER_PATH = f"{PEERS}:{ROOT / 'app'}"  # what peers find beside their packages: our pixels, where they are given them
OURS = "emo-serve"
_MARK = "BENCH_SERVER"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Commands that start a server and ask it; ``{port}``, ``{bin}`` and ``{models}`` are filled in."""

    command: str
    path: str
    multipart: str = ""
    package: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


RECIPES: Mapping[str, Recipe] = {
    OURS: Recipe(
        "{python} -m emo_serve serve --port {port} --models {models} --log-level info", "/classify?model={model}"
    ),
    "fastapi": Recipe(
        "{bin}/python -m uvicorn fastapi_server:app --port {port} --workers 2 --no-access-log --log-level warning",
        "/predict",
        package="fastapi",
    ),
    "mosec": Recipe(
        "{bin}/python mosec_server.py --address 127.0.0.1 --port {port} --timeout 60000 --log-level warning "
        "--path /tmp/mosec-{port}",
        "/inference",
        package="mosec",
    ),
    "robyn": Recipe(
        "{bin}/python robyn_server.py --processes 1 --workers 2 --log-level WARN", "/predict", package="robyn"
    ),
    "litserve": Recipe("{bin}/python litserve_server.py", "/predict", multipart="file", package="litserve"),
    "bentoml": Recipe(
        "{bin}/bentoml serve bentoml_server:Classify --host 127.0.0.1 --port {port}",
        "/predict",
        multipart="images",
        package="bentoml",
        environment={"BENTOML_DO_NOT_TRACK": "True"},
    ),
}


def installed() -> list[str]:
    """The servers that can be started: ours, and the peers that have an environment."""
    return [name for name in RECIPES if name == OURS or (ENVIRONMENTS / name / "bin" / "python").exists()]


def version(name: str) -> str:
    """The version of a server's package."""
    python = sys.executable if name == OURS else str(ENVIRONMENTS / name / "bin" / "python")
    package = "emo-serve" if name == OURS else RECIPES[name].package
    command = [python, "-c", f"from importlib.metadata import version; print(version({package!r}))"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


class Server:
    """One running server and the processes that it started."""

    def __init__(self, name: str, port: int, model: str, models: Path, photo: Path, *, served_graph: bool) -> None:
        """Start it; ``model`` is a name such as emo_1m, ``served_graph`` gives a peer our graph and pixels."""
        recipe = RECIPES[name]
        ours = model.replace("_", "-")
        graph = models / ours / "1" / "model.onnx" if served_graph else models / f"{model}.onnx"
        places = {"port": port, "python": sys.executable, "models": models, "model": ours}
        places["bin"] = ENVIRONMENTS / name / "bin"
        self.name = name
        self.url = f"http://127.0.0.1:{port}{recipe.path.format(**places)}"
        self._multipart = recipe.multipart
        self._photo = photo
        mark = uuid.uuid4().hex
        self._mark = f"{_MARK}={mark}".encode()
        self._began = time.perf_counter()
        self._process = subprocess.Popen(
            recipe.command.format(**places).split(),
            cwd=ROOT if name == OURS else PEERS,
            env={
                **os.environ,
                **recipe.environment,
                "PYTHONPATH": str(ROOT) if name == OURS else PEER_PATH,
                "PORT": str(port),
                "BENCH_MODEL": str(graph),
                "BENCH_PIXELS": "served" if served_graph else "plain",
                "OMP_NUM_THREADS": "1",
                _MARK: mark,
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def wait(self, seconds: float = 90) -> float:
        """Seconds from the start to the first answer."""
        while time.perf_counter() - self._began < seconds:
            with contextlib.suppress(OSError):
                self.answer()
                return time.perf_counter() - self._began
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        self.stop()
        msg = f"{self.name} does not start"
        raise RuntimeError(msg)

    def answer(self) -> Any:  # noqa: ANN401  JSON
        """Its answer about the photo."""
        head, _, body = request_bytes(self.url, self._photo.read_bytes(), self._multipart).partition(b"\r\n\r\n")
        kind = next(line for line in head.decode().split("\r\n") if line.startswith("Content-Type")).partition(": ")[2]
        request = urllib.request.Request(self.url, body, {"Content-Type": kind})  # noqa: S310  loopback
        with urllib.request.urlopen(request) as response:  # noqa: S310  loopback
            return json.load(response)

    def load(self, clients: int, seconds: float, rate: float = 0.0, expected: str = "") -> dict[str, Any]:
        """The figures of ``tests.load`` and the CPU seconds that the server took."""
        before = self.cpu_seconds()
        command = [sys.executable, "-m", "tests.load", self.url, str(self._photo), "--clients", str(clients)]
        command += ["--seconds", str(seconds), "--expected", expected, "--multipart", self._multipart]
        command += ["--rate", str(rate)] if rate else []
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return {**json.loads(done.stdout), "cpu_seconds": self.cpu_seconds() - before}

    def cpu_seconds(self) -> float:
        """CPU time of all its processes until now."""
        return sum(sum(map(int, _stat(process)[11:13])) for process in self._processes()) / _TICKS

    def memory_mib(self) -> float:
        """Memory of all its processes; what they share counts once."""
        total = 0
        for process in self._processes():
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii")
                total += int(text.partition("\nPss:")[2].split()[0])
        return total / 1024

    @contextlib.contextmanager
    def awake(self) -> Iterator["Server"]:
        """Let it run for the time of the block; before and after it is held still."""
        self._send(signal.SIGCONT)
        try:
            yield self
        finally:
            self._send(signal.SIGSTOP)

    def stop(self) -> None:
        """End it, however long that takes it."""
        self._send(signal.SIGCONT)
        self._send(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._send(signal.SIGKILL)
        self._process.wait()

    def _processes(self) -> list[int]:
        """All that carry its mark, also those whose parent has ended or that began a session of their own."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if self._mark in (entry / "environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
        return found

    def _send(self, number: signal.Signals) -> None:
        for process in self._processes():
            with contextlib.suppress(OSError):
                os.kill(process, number)


def _stat(process: int) -> list[str]:
    """The fields after the name: state, parent, group, session, ..."""
    return Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
