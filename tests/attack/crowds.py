"""Many connections, slow ones, and who holds the address."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.attack.attacking import LAST, PATIENCE_SECONDS, Finding, Neighbour, Server, attacked, head, statuses
from tests.support import write_classifier

SILENT, FILES = 3000, 1024
BURST, BURST_WORKERS = 500, 2


def silent_connections(checkout: Path) -> list[Finding]:
    """More connections than there may be open files, on which nothing is said."""
    with attacked(checkout, files=FILES) as server, contextlib.ExitStack() as closing:
        with Neighbour(server) as neighbour:
            silent, refused = [], 0
            for _ in range(SILENT):
                try:
                    silent.append(closing.enter_context(socket.create_connection(("127.0.0.1", server.port), 2)))
                except OSError:
                    refused += 1
            time.sleep(1)
        told, reset = _heard(silent)
        began = time.monotonic()
        while statuses(_asked_briefly(server)) != [200] and time.monotonic() - began < PATIENCE_SECONDS / 2:
            time.sleep(0.2)
        again = time.monotonic() - began
    lost = reset + refused
    return [
        Finding(f"of {SILENT} silent connections, those reset or refused", lost, "", 0),
        Finding("of those, neither told 503 nor let in", max(0, SILENT - told - lost - FILES), "", 0),
        Finding("until their own address is served again", again, "s", 15),
        *neighbour.findings(most_seconds=3.0),  # each of them costs as much as a request
    ]


def _heard(connections: Sequence[socket.socket]) -> tuple[int, int]:
    """On how many something was said, and how many were reset."""
    told = reset = 0
    for connection in connections:
        connection.settimeout(0)
        try:
            told += bool(connection.recv(65_536))
        except BlockingIOError:
            pass
        except OSError:
            reset += 1
    return told, reset


def _asked_briefly(server: Server) -> bytes:
    with contextlib.suppress(OSError), server.connected() as connection:
        connection.settimeout(1)
        connection.sendall(LAST)
        return connection.recv(65_536)
    return b""


def slow_clients(checkout: Path) -> list[Finding]:
    """Heads, and bodies that nobody reads, of which a byte comes now and then."""
    beginnings = [b"GET /livez HTTP/1.1\r\nX: ", head("GET", "/livez", "Content-Length: 1000000")] * 50
    with attacked(checkout) as server, contextlib.ExitStack() as closing:
        slow = [closing.enter_context(server.connected()) for _ in beginnings]
        for connection, beginning in zip(slow, beginnings, strict=True):
            connection.sendall(beginning)
        began = time.monotonic()
        while slow and time.monotonic() - began < 20:
            slow = [connection for connection in slow if _goes_on(connection)]
            time.sleep(0.2)
    return [
        Finding("slow clients of 100 that keep their connection for 20 s", len(slow), "", 0),
        Finding("the last of them has gone after", time.monotonic() - began, "s", 18),
    ]


def _goes_on(connection: socket.socket) -> bool:
    try:
        connection.sendall(b"x")
        connection.settimeout(0)
        while connection.recv(65_536):
            pass
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def two_servers_at_once(checkout: Path) -> list[Finding]:
    """Of two on one port the second says so in a line."""
    wrong = 0
    for workers in ("1", "2"):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        with tempfile.TemporaryDirectory() as models:
            write_classifier(Path(models))
            command = [sys.executable, "-m", "emo_serve", "serve", "--port", port, "--models", models, "--no-tune"]
            started = [
                subprocess.Popen(
                    [*command, "--workers", workers],
                    cwd=checkout,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                    env=os.environ,
                )
                for _ in range(2)
            ]
            try:
                wrong += not _one_gives_up(started)
            finally:
                for process in started:
                    process.kill()
                    process.communicate()
    return [Finding("of two pairs of servers on one port, those that do not end well", wrong, "", 0)]


def _one_gives_up(started: Sequence["subprocess.Popen[str]"]) -> bool:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        for process in started:
            if process.poll() is not None:
                assert process.stderr is not None
                lines = [line for line in process.stderr.read().splitlines() if not line.startswith("{")]
                return process.returncode == 1 and len(lines) == 1
        time.sleep(0.05)
    return False


def bursts_of_connections(checkout: Path) -> list[Finding]:
    """Connections that all come at once, while one worker computes."""
    with attacked(checkout, workers=BURST_WORKERS) as server, contextlib.ExitStack() as closing:
        worst = 0.0
        for _ in range(2):
            burst = [socket.socket() for _ in range(BURST)]
            for connection in burst:
                closing.callback(connection.close)
                connection.setblocking(False)  # noqa: FBT003
                connection.connect_ex(("127.0.0.1", server.port))
            time.sleep(1)
            shares = [_connections_of(process, server.port) for process in server.processes()[1:]]
            even = sum(shares) / BURST_WORKERS
            worst = max(worst, (max(shares) - even) / even * 100 if sum(shares) else 100.0)
            for connection in burst:
                connection.close()
            time.sleep(0.5)
    return [Finding(f"a burst of {BURST} connections: the fullest worker above an even share", worst, "%", 10)]


def _connections_of(process: int, port: int) -> int:
    rows = (line.split() for line in Path(f"/proc/{process}/net/tcp").read_text().splitlines()[1:])
    ours = {row[9] for row in rows if int(row[1].split(":")[1], 16) == port and row[3] == "01"}
    count = 0
    for entry in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(OSError):
            count += str(entry.readlink()).removeprefix("socket:[").removesuffix("]") in ours
    return count
