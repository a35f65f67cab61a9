"""A real Prometheus that watches one server every second, with the alerts of this repository."""

import contextlib
import math
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.serving import eventually, free_port
from tests.watch.dashboard import ALERTS, ROOT


@dataclass(frozen=True, slots=True)
class Series:
    """One line of an answer: its labels, when, and the finite values."""

    labels: dict[str, str]
    times: list[float]
    values: list[float]


@dataclass(frozen=True, slots=True)
class Prometheus:
    """Where it answers."""

    url: str

    def ask(self, what: str, **parameters: str | float) -> Any:  # noqa: ANN401  any JSON value
        """The data of an answer of its HTTP interface; raises RuntimeError with its complaint."""
        answer = httpx.get(f"{self.url}/api/v1/{what}", params=parameters, timeout=30).json()
        if answer["status"] != "success":
            raise RuntimeError(answer["error"], parameters)
        return answer["data"]

    def range(self, expression: str, begin: float, end: float) -> list[Series]:
        """Values of the expression from ``begin`` to ``end``, every second; series without a number are left out."""
        data = self.ask("query_range", query=expression, start=begin, end=end, step=1)
        found = []
        for entry in data["result"]:
            points = [(float(time), float(value)) for time, value in entry["values"] if math.isfinite(float(value))]
            if points:
                labels = {name: word for name, word in entry["metric"].items() if name != "__name__"}
                found.append(Series(labels, [time for time, _ in points], [value for _, value in points]))
        return found

    def now(self, expression: str) -> float | None:
        """The value of an expression that has one; None where it has none."""
        result = self.ask("query", query=expression)["result"]
        return float(result[0]["value"][1]) if result else None


@contextlib.contextmanager
def watching(target: str, folder: Path) -> Iterator[Prometheus]:
    """Give a Prometheus that scrapes ``target`` (host:port) and keeps what it finds in ``folder``."""
    config = yaml.safe_load((ROOT / "docker/prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    rules = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))
    for group in rules["groups"]:
        group.pop("interval", None)  # or some would not have run once when the test ends
    (folder / "alerts.yml").write_text(yaml.safe_dump(rules), encoding="utf-8")
    (job,) = config["scrape_configs"]
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": [target]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    port = free_port()
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with subprocess.Popen(command) as process:
        prometheus = Prometheus(f"http://127.0.0.1:{port}")

        def sees_it() -> bool:
            assert process.poll() is None, "Prometheus has ended"
            try:
                ready = httpx.get(f"{prometheus.url}/-/ready", timeout=30).is_success
                return ready and prometheus.now('up{job="emo-serve"}') == 1
            except httpx.TransportError:
                return False

        try:
            eventually(sees_it)
            yield prometheus
        finally:
            process.terminate()


def promtool(*arguments: str, given: str | None = None) -> str:
    """Output of promtool; raises RuntimeError if it finds a fault, of style included."""
    done = subprocess.run(["promtool", *arguments], input=given, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return done.stdout.strip()
