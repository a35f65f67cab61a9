"""A running command and its processes, seen from outside."""

import contextlib
import http.client
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.serving import Command


def connect(server: Command) -> http.client.HTTPConnection:
    """A connection that a worker has taken over: it has answered on it."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", "/readyz")
    response = connection.getresponse()
    assert (response.status, response.read()) == (200, b'{"status":"ready"}')
    return connection


def connections_of(worker: int) -> int:
    """How many sockets the process has."""
    folder = Path(f"/proc/{worker}/fd")
    count = 0
    for entry in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += str(entry.readlink()).startswith("socket:")
    return count


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """All values of an exposition; none of its families is there twice."""
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def metric(text: str, name: str, **labels: str) -> float:
    """One of them."""
    return samples(text)[name, tuple(sorted(labels.items()))]


def scraped(server: Command) -> str:
    """The metrics as the server tells them now."""
    response = httpx.get(f"{server.url}/metrics", timeout=20)
    assert response.status_code == 200
    return response.text
