"""How many connections there may be, and how long one may say nothing; with one process and with several."""

import contextlib
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from emo_serve.errors import Unavailable
from emo_serve.process.connections import Connections
from emo_serve.settings import Settings
from tests.process.wire import IMAGE, LAST, LIVE, answers, ask, length, post, trickle
from tests.serving import Command, commanded, eventually
from tests.support import PATIENCE_SECONDS

SERVER = {"EMO_TUNE": "false", "EMO_HTTP__HEAD_TIMEOUT_SECONDS": "1"}


# ---- counting ----


def admitted(connections: Connections, *addresses: str) -> list[bool]:
    found = []
    for address in addresses:
        try:
            connections.enter(address)
        except Unavailable as error:
            assert error.retry_after_seconds == 1  # noqa: PT017  it is one of several
            found.append(False)
        else:
            found.append(True)
    return found


def test_there_is_a_limit_in_all_and_for_each_address_and_who_leaves_makes_room() -> None:
    connections = Connections(max_connections=5, max_per_client=3, max_rejected=1)
    assert admitted(connections, *["10.0.0.1"] * 4, "10.0.0.2", "10.0.0.3", "10.0.0.4") == [
        *[True] * 3,
        False,
        True,
        True,
        False,
    ]
    connections.leave("10.0.0.1")
    assert admitted(connections, "10.0.0.1", "10.0.0.1") == [True, False]


def test_a_network_of_ipv6_is_one_client_and_a_mapped_address_of_ipv4_is_itself() -> None:
    connections = Connections(max_connections=100, max_per_client=1, max_rejected=1)
    assert admitted(connections, "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1") == [True, False, True]
    assert admitted(connections, "fe80::1%eth0", "fe80::2%eth0") == [True, False]
    assert admitted(connections, "::ffff:10.0.0.1", "::ffff:10.0.0.2", "::ffff:10.0.0.2") == [True, True, False]


def test_behind_a_proxy_all_may_come_from_one_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emo_serve.process.connections.free_files", lambda: 100_000)
    limited = Settings.model_validate({"http": {"max_connections": 4}})
    assert admitted(Connections.of(limited), *["x"] * 5) == [True, True, False, False, False]
    behind = limited.model_copy(update={"client_header": "X-Forwarded-For"})
    assert admitted(Connections.of(behind), *["x"] * 5) == [True, True, True, True, False]
    trusting = Settings.model_validate({"http": {"max_connections": 4}, "trusted_proxies": "10.0.0.0/8"})
    assert admitted(Connections.of(trusting), *["10.1.2.3"] * 5) == [True, True, True, True, False]
    of_one = Settings.model_validate({"http": {"max_connections": 4, "max_connections_per_client": 1}})
    assert admitted(Connections.of(of_one), "x", "x", "y") == [True, False, True]


def test_there_are_no_more_than_there_are_descriptors_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emo_serve.process.connections.free_files", lambda: 1000)
    connections = Connections.of(Settings())
    assert 500 < sum(admitted(connections, *map(str, range(2000)))) < 1024 - 200


def test_of_those_that_are_turned_away_the_first_is_ended_when_they_are_too_many() -> None:
    connections, ended = Connections(max_connections=1, max_per_client=1, max_rejected=2), []
    ends = [lambda number=number: ended.append(number) for number in range(4)]
    connections.add_rejected(ends[0])
    connections.add_rejected(ends[1])
    connections.discard_rejected(ends[0])
    connections.add_rejected(ends[2])
    assert not ended
    connections.add_rejected(ends[3])
    assert ended == [1]


# ---- a server ----


@contextlib.contextmanager
def serving(folder: Path, workers: int, **environment: str) -> Iterator[Command]:
    (folder / "models").mkdir()
    with commanded(folder / "models", folder / "log", workers, **(SERVER | environment)) as server:
        yield server


def connect(server: Command, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS, (source, 0))


def rest_of(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_connection_that_is_silent_is_closed_and_a_head_that_never_ends_is_refused(
    tmp_path: Path, workers: int
) -> None:
    with serving(tmp_path, workers) as server:
        with connect(server) as silent:
            assert rest_of(silent) == b""
        with connect(server) as slow:
            slow.sendall(LIVE + LIVE[:-2] + b"X: ")  # the second head of the connection
            began, text = time.monotonic(), trickle(slow, 0.2)
            assert 0.9 < time.monotonic() - began < 5
            good, late = answers(text)
            assert (good.status, late.status) == (200, 408)
            assert "within 1 second" in late.json()["detail"]


def test_a_connection_that_is_silent_from_its_start_is_idle(tmp_path: Path) -> None:
    with (
        serving(tmp_path, 1, EMO_HTTP__HEAD_TIMEOUT_SECONDS="60", EMO_KEEP_ALIVE_SECONDS="1") as server,
        connect(server) as silent,
    ):
        began = time.monotonic()
        assert rest_of(silent) == b""
        assert 0.9 < time.monotonic() - began < 5


def test_a_connection_that_is_idle_for_longer_than_a_head_may_take_is_kept(tmp_path: Path) -> None:
    with serving(tmp_path, 1, EMO_HTTP__HEAD_TIMEOUT_SECONDS="0.3") as server, connect(server) as kept:
        for _ in range(2):
            kept.sendall(LIVE)
            assert kept.recv(65536).startswith(b"HTTP/1.1 200")
            time.sleep(0.6)  # what is waited for is that nothing happens
        kept.sendall(LAST)
        assert rest_of(kept).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("workers", [1, 2])
def test_one_connection_too_many_is_told_to_come_later_and_another_client_is_served(
    tmp_path: Path, workers: int
) -> None:
    limits = {"EMO_HTTP__MAX_CONNECTIONS_PER_CLIENT": "3", "EMO_HTTP__HEAD_TIMEOUT_SECONDS": "3"}
    with serving(tmp_path, workers, **limits) as server, contextlib.ExitStack() as closing:
        for _ in range(3 * workers):
            closing.enter_context(connect(server))
        (answer,) = ask(server.port, post(length(IMAGE)) + IMAGE)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
        assert "from this address" in answer.json()["detail"]
        with connect(server, "127.0.0.2") as other:
            other.sendall(LAST)
            assert rest_of(other).startswith(b"HTTP/1.1 200")
        eventually(lambda: ask(server.port, LAST)[0].status == 200)  # the silent ones have been closed


def test_the_administration_gets_in_however_many_others_there_are(tmp_path: Path) -> None:
    workers = 2
    environment = {"EMO_HTTP__MAX_CONNECTIONS": "1", "EMO_ADMIN_PORT": "0", "EMO_ADMIN_TOKEN": "0123456789abcdef"}
    with (
        serving(tmp_path, workers, **environment) as server,
        contextlib.ExitStack() as closing,
    ):
        for _ in range(workers):
            closing.enter_context(connect(server))
        assert ask(server.port, LAST)[0].status == 503
        assert ask(server.admin_port, LAST)[0].status == 401


def test_every_process_may_have_as_many_open_files_as_the_system_lets_it(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, hard), hard))
    try:
        with serving(tmp_path, 2) as server:
            main = server.process.pid
            children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
            assert len(children) == 2
            for process in (main, *children):
                limits = Path(f"/proc/{process}/limits").read_text().partition("Max open files")[2].split()[:2]
                assert limits == [str(hard)] * 2
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
