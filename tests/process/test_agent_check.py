"""HAProxy's agent check: a weight in percent, from how fast the models run."""

import socket
from pathlib import Path

import pytest

from emo_serve.metrics.definitions import Metrics
from emo_serve.process.agent_check import AgentCheck
from tests.serving import commanded, free_port


def answer(port: int) -> bytes:
    """What the port writes before it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as link:
        return b"".join(iter(lambda: link.recv(100), b""))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_that_was_not_asked_yet_has_its_whole_weight(tmp_path: Path, workers: int) -> None:
    (tmp_path / "models").mkdir()
    port = free_port()
    with commanded(tmp_path / "models", tmp_path / "log", workers, EMO_AGENT_PORT=str(port)):
        assert {answer(port) for _ in range(10)} == {b"100%\n"}


def test_the_weight_approaches_the_speed_of_all_models_and_returns() -> None:
    metrics = Metrics()
    agent = AgentCheck(metrics)
    models = [metrics.for_model(name, "classify") for name in ("one", "other")]
    percents = []
    for slowness in (4, 4, 4, 4, 1, 1, 1, 1):
        for model in models:
            model.ran(1, seconds=15.0, expected=15.0 / slowness)
        percents.append(agent.percent())
    assert percents == [62, 44, 34, 30, 65, 82, 91, 96]


def test_a_few_slow_runs_hardly_change_the_weight() -> None:
    metrics = Metrics()
    agent = AgentCheck(metrics)
    metrics.for_model("one", "classify").ran(1, seconds=1.2, expected=0.3)
    assert agent.percent() == 97


@pytest.mark.parametrize(("expected", "percent"), [(1e-6, 1), (1e3, 100)])
def test_a_weight_is_never_nothing_and_never_more_than_the_whole(expected: float, percent: int) -> None:
    metrics = Metrics()
    agent = AgentCheck(metrics)
    for _ in range(20):
        metrics.for_model("one", "classify").ran(1, seconds=30.0, expected=30 * expected)
        last = agent.percent()
    assert last == percent
