"""How the command stops: by SIGTERM, by Ctrl-C, and by a second signal; with one process and with several."""

import contextlib
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.helpers.processes import metric, scraped
from tests.hostile import endless_on_pure_colours
from tests.process.wire import HEAD, IMAGE
from tests.serving import Command, commanded, eventually

TYPE = {"content-type": "image/png"}
LONG = "600"  # seconds: whatever happens in a test happens within the delay

Start = Callable[..., Command]

pytestmark = pytest.mark.parametrize("workers", [1, 2])


@pytest.fixture
def start(tmp_path: Path, workers: int) -> Iterator[Start]:
    """Starts the command with this delay, and this time for the drain, in seconds."""
    (tmp_path / "models").mkdir()
    with contextlib.ExitStack() as servers:

        def start(delay: str, drain: str = "20") -> Command:
            environment = {"EMO_DRAIN_DELAY_SECONDS": delay, "EMO_DRAIN_SECONDS": drain, "EMO_TUNE": "false"}
            return servers.enter_context(commanded(tmp_path / "models", tmp_path / "log", workers, **environment))

        yield start


def ready(server: Command) -> int:
    """Status of ``/readyz`` on a new connection; several of them reach every worker."""
    return httpx.get(f"{server.url}/readyz", timeout=20).status_code


def test_during_the_delay_everything_is_answered_but_nobody_is_asked_to_come(start: Start, workers: int) -> None:
    server = start(LONG)
    with contextlib.ExitStack() as closing:
        kept = [closing.enter_context(httpx.Client(base_url=server.url, timeout=20)) for _ in range(2 * workers)]
        assert [client.get("/readyz").status_code for client in kept] == [200] * len(kept)
        assert "connection" not in kept[0].post("/classify", content=IMAGE, headers=TYPE).headers
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: kept[0].get("/readyz").status_code == 503)
        eventually(lambda: all(ready(server) == 503 for _ in range(2 * workers)))
        for client in kept * 2:  # on the connection that was there, then on a new one
            answer = client.post("/classify", content=IMAGE, headers=TYPE)
            assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        for path, status in (("/readyz", 503), ("/livez", 200), ("/nowhere", 404)):
            answer = httpx.get(f"{server.url}{path}", timeout=20)
            assert (answer.status_code, answer.headers["connection"]) == (status, "close")


def test_after_the_delay_connections_are_refused_and_what_was_accepted_is_answered(start: Start) -> None:
    server = start("0.5")
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as upload:
        upload.sendall(HEAD + IMAGE[:20])
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        eventually(server.refuses)
        assert time.monotonic() - began >= 0.5
        upload.sendall(IMAGE[20:])
        answer = upload.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"\r\nconnection: close\r\n" in answer.lower()
    assert server.process.wait(20) == 0


def test_a_second_signal_ends_the_delay_and_everything_else_at_once(start: Start) -> None:
    server = start(LONG)
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as upload:
        upload.sendall(HEAD + IMAGE[:20])  # and never more
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: ready(server) == 503)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 130


def test_a_stop_does_not_wait_for_an_image_that_never_ends(start: Start, tmp_path: Path) -> None:
    endless_on_pure_colours(tmp_path / "models", "1")
    server = start("0", "2")
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(HEAD + IMAGE)
        eventually(lambda: metric(scraped(server), "emo_inflight_bytes") > 0)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 2 + 3


def test_ctrl_c_waits_for_no_balancer(start: Start) -> None:
    server = start(LONG)
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(20) == 0
