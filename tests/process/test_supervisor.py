"""Several real worker processes behind one port."""

import contextlib
import http.client
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from emo_serve.process.supervisor import restart_delay
from tests.helpers.processes import connect, connections_of, metric, scraped
from tests.process.wire import HEAD, IMAGE
from tests.serving import Command, commanded, emo_serve, eventually, runs
from tests.support import write_detector


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "models").mkdir()
    with commanded(folder / "models", folder / "log", workers=2) as server:
        yield server


@pytest.fixture(scope="module")
def idle_sockets(server: Command) -> int:
    """How many sockets the workers have without connections."""
    return sum(map(connections_of, server.workers()))


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Command]:
    (tmp_path / "models").mkdir()
    with commanded(tmp_path / "models", tmp_path / "log", workers=2) as server:
        yield server


def resident_bytes(process: int) -> int:
    return int(Path(f"/proc/{process}/status").read_text().partition("VmRSS:")[2].split()[0]) * 1024


def answered(server: Command) -> float:
    return metric(scraped(server), "emo_requests_total", model="toy-classifier", task="classify", outcome="ok")


def classify(connection: http.client.HTTPConnection) -> int:
    connection.request("POST", "/classify", IMAGE, {"Content-Type": "image/png"})
    response = connection.getresponse()
    response.read()
    return response.status


def test_connections_are_spread_evenly_over_the_workers(server: Command, idle_sockets: int) -> None:
    eventually(lambda: sum(map(connections_of, server.workers())) == idle_sockets)
    before = [connections_of(worker) for worker in server.workers()]
    with contextlib.ExitStack() as closing:
        for _ in range(64):
            closing.callback(connect(server).close)
        more = [connections_of(worker) - count for worker, count in zip(server.workers(), before, strict=True)]
    assert sum(more) == 64
    assert abs(more[0] - more[1]) <= 1


def test_connections_that_ended_are_not_counted_against_a_worker(server: Command, idle_sockets: int) -> None:
    eventually(lambda: sum(map(connections_of, server.workers())) == idle_sockets)
    with contextlib.ExitStack() as closing:
        kept = [connect(server) for _ in range(8)]
        for connection in kept:
            closing.callback(connection.close)
        for connection in kept[::2]:  # all of one worker
            connection.close()
        eventually(lambda: sum(map(connections_of, server.workers())) == idle_sockets + 4)
        kept[1].request("GET", "/metrics")  # every worker is heard for it, so what they said before is known too
        kept[1].getresponse().read()
        before = [connections_of(worker) for worker in server.workers()]
        for _ in range(4):
            closing.callback(connect(server).close)
        more = [connections_of(worker) - count for worker, count in zip(server.workers(), before, strict=True)]
        assert sorted(more) == [0, 4]


def test_whoever_is_asked_gives_the_metrics_of_all_workers(server: Command) -> None:
    before = answered(server)
    first, second = connect(server), connect(server)  # of different workers
    with contextlib.closing(first), contextlib.closing(second):
        assert [classify(first), classify(second), classify(second)] == [200, 200, 200]
        for asked in (first, second):
            asked.request("GET", "/metrics")
            text = asked.getresponse().read().decode()
            labels = {"model": "toy-classifier", "task": "classify", "outcome": "ok"}
            assert metric(text, "emo_requests_total", **labels) == before + 3
            assert metric(text, "emo_workers_ready") == metric(text, "emo_workers_configured") == 2
            info = {"version": "1", "provider": "cpu", "precision": "float32"}
            assert metric(text, "emo_model_info", model="toy-classifier", **info) == 1
            total = {"model": "toy-classifier", "stage": "total"}
            assert metric(text, "emo_stage_seconds_bucket", le="+Inf", **total) == before + 3
            assert metric(text, "emo_stage_seconds_count", **total) == before + 3
            for line in ("# HELP emo_requests_total ", "# TYPE emo_requests_total counter"):
                assert text.count(line) == 1


def test_the_memory_is_that_of_the_workers_and_the_supervisor(server: Command) -> None:
    everybody = sum(map(resident_bytes, (server.process.pid, *server.workers())))
    assert metric(scraped(server), "process_resident_memory_bytes") == pytest.approx(everybody, rel=0.1)


def test_a_worker_that_hangs_keeps_nobody_from_the_metrics(server: Command) -> None:
    count = answered(server)
    workers = server.workers()
    first = connect(server)
    before = connections_of(workers[0])
    second = connect(server)
    with contextlib.closing(first), contextlib.closing(second):
        asked = first if connections_of(workers[0]) > before else second  # the one of the other worker
        os.kill(workers[0], signal.SIGSTOP)
        try:
            asked.request("GET", "/metrics")
            text = asked.getresponse().read().decode()
        finally:
            os.kill(workers[0], signal.SIGCONT)
    labels = {"model": "toy-classifier", "task": "classify", "outcome": "ok"}
    assert metric(text, "emo_requests_total", **labels) == count
    assert metric(text, "emo_workers_ready") == 1
    eventually(lambda: metric(scraped(server), "emo_workers_ready") == 2)


def test_a_killed_worker_is_replaced_and_no_counter_goes_backwards(server: Command) -> None:
    first, second = connect(server), connect(server)
    with contextlib.closing(first), contextlib.closing(second):
        assert [classify(first), classify(second)] == [200, 200]
        count = answered(server)
        victim = server.workers()[0]
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: not runs(victim))
        assert answered(server) == count
        assert sorted(map(still_open, (first, second))) == [False, True]  # nobody else is touched
        eventually(lambda: metric(scraped(server), "emo_workers_ready") == 2)
        assert len(server.workers()) == 2
        assert answered(server) == count + 1
        assert metric(scraped(server), "emo_worker_restarts_total", reason="killed") == 1


def still_open(connection: http.client.HTTPConnection) -> bool:
    try:
        return classify(connection) == 200
    except (ConnectionError, http.client.HTTPException):
        return False


def test_what_was_accepted_is_answered_when_the_server_stops(own_server: Command) -> None:
    begun = [connect(own_server) for _ in range(12)]
    with contextlib.ExitStack() as closing:
        for connection in begun:
            closing.callback(connection.close)
            connection.sock.sendall(HEAD + IMAGE[:20])
        own_server.process.send_signal(signal.SIGTERM)
        eventually(own_server.refuses)
        for connection in begun:
            connection.sock.sendall(IMAGE[20:])
            assert connection.sock.recv(12) == b"HTTP/1.1 200"
    assert own_server.process.wait(20) == 0


def test_workers_whose_supervisor_was_killed_finish_their_work_and_end(own_server: Command) -> None:
    workers = own_server.workers()
    begun = [connect(own_server) for _ in range(4)]
    with contextlib.ExitStack() as closing:
        for connection in begun:
            closing.callback(connection.close)
            connection.sock.sendall(HEAD + IMAGE[:20])
        own_server.process.kill()
        own_server.process.wait(20)
        for connection in begun:
            connection.sock.sendall(IMAGE[20:])
            assert connection.sock.recv(12) == b"HTTP/1.1 200"
    eventually(lambda: not any(map(runs, workers)))


def test_a_second_signal_ends_everything_at_once(own_server: Command) -> None:
    workers = own_server.workers()
    connection = connect(own_server)
    with contextlib.closing(connection):
        connection.sock.sendall(HEAD + IMAGE[:20])  # and never more
        own_server.process.send_signal(signal.SIGINT)
        eventually(own_server.refuses)
        own_server.process.send_signal(signal.SIGINT)
        assert own_server.process.wait(10) == 130
    assert not any(map(runs, workers))


def test_workers_that_cannot_start_are_one_clean_message_and_exit_code_1(tmp_path: Path) -> None:
    write_detector(tmp_path, golden_shift=1.0)
    server = emo_serve("serve", "--workers", "2", "--port", "0", "--models", str(tmp_path), EMO_LOG_LEVEL="error")
    _, errors = server.communicate(timeout=60)
    assert server.returncode == 1
    assert errors.count("emo-serve: ") == 1
    last = errors[errors.index("emo-serve: ") :]
    assert "no model can be served" in last
    assert "toy-detector" in last
    assert "Traceback" not in last


def test_a_worker_that_ends_again_and_again_is_started_less_and_less_often() -> None:
    assert [restart_delay(ends) for ends in (0, 1, 2, 3, 7, 10_000)] == [0, 0.5, 1, 2, 30, 30]
