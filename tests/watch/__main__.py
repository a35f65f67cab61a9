"""`make watch-test`: a real server with two workers, everything that clients do to it, and a real Prometheus.

Every query of the dashboard must have an answer that is not all zeros, every rule must run, every metric must have been
seen. With ``--draw FILE`` a healthy time comes first, whose answers are drawn as the dashboard would show them.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import httpx

from emo_serve.metrics.definitions import Metrics
from emo_serve.metrics.process import SupervisorMetrics
from emo_serve.settings import MIB
from tests.diverting import two_versions
from tests.serving import Command, commanded, eventually
from tests.watch.dashboard import ROOT, Panel, filled, panels
from tests.watch.picture import draw
from tests.watch.prometheus import Prometheus, promtool, watching
from tests.watch.traffic import Traffic, photos

VARIABLES = {
    "__rate_interval": "5s",
    "job": "emo-serve",
    "instance": ".*",
    "model": ".*",
    "window": "15s",
    "past": "40s",
}
SERVER = {
    "EMO_CLIENT_HEADER": "X-Client",
    "EMO_BATCHING__MAX_QUEUE_SIZE": "12",
    "EMO_MAX_REQUEST_BYTES": str(MIB),
    "EMO_MAX_INFLIGHT_BYTES": str(2 * MIB),
}
CLASSIFIER = "emo-1m"
RATE, IDLE_RATE = 15, 2  # images a second of calm traffic, and where cores are idle
DRAWN_RATE, DRAWN_SECONDS = 8, 75
MAX_PICTURE_BYTES = 200_000


def main() -> int:
    """Run all of it; the exit status."""
    parser = argparse.ArgumentParser(prog="make watch-test", description="Dashboard and alerts, tried for real.")
    parser.add_argument("--draw", type=Path, metavar="FILE", help="draw the dashboard into this PNG")
    options = parser.parse_args()
    for command in ("prometheus", "promtool"):
        if shutil.which(command) is None:
            sys.stderr.write(f"watch-test: there is no {command} command here (Debian: apt-get install prometheus)\n")
            return 1
    for arguments in (
        ("check", "config", "docker/prometheus.yml"),
        ("check", "rules", "docker/alerts.yml"),
        ("test", "rules", "docker/test/alerts_test.yml"),
    ):
        promtool(*arguments)
        say(f"promtool {' '.join(arguments)}: no complaint")
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            commanded(tried_models(folder / "models"), folder / "log", workers=2, **SERVER) as server,
            watching(f"127.0.0.1:{server.port}", folder) as prometheus,
        ):
            if options.draw:
                faults += draw_healthy(server, prometheus, options.draw)
            begin = time.time()
            asyncio.run(traffic(server))
            end = time.time()
            promtool("check", "metrics", given=httpx.get(f"{server.url}/metrics", timeout=20).text)
            say("promtool check metrics: no complaint")
            faults += [*check_metrics(prometheus, end - begin), *check_rules(prometheus)]
            for panel in panels():
                faults += check_panel(prometheus, panel, begin, end)
            assert server.stop() == 0
    for fault in faults:
        say(f"FAULT: {fault}")
    say("failed" if faults else "passed")
    return bool(faults)


def tried_models(folder: Path) -> Path:
    """The shipped models in ``folder``; another version of the classifier has a share of its requests, and copies."""
    shutil.copytree(ROOT / "models/ssdlite-emo-1m", folder / "ssdlite-emo-1m")
    own, other = two_versions(folder, CLASSIFIER)
    config = {
        "aliases": {"default": own},
        "splits": {"default": {"shares": {own: 0.8, other: 0.2}, "by": "request"}},
        "shadows": {"default": {"version": other, "share": 0.5}},
    }
    (folder / CLASSIFIER / "serving.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def say(text: str) -> None:
    """Print a line."""
    print(f"watch-test: {text}", flush=True)  # noqa: T201  a command talks by print


def draw_healthy(server: Command, prometheus: Prometheus, file: Path) -> list[str]:
    """Draw a time in which all is well; a fault where it was not, or the picture is too large."""
    say("a healthy time, to be drawn")
    begin = time.time()
    answered = asyncio.run(healthy(server))
    end = time.time()
    answers = {
        (panel.title, query.expression): prometheus.range(filled(query.expression, VARIABLES), begin, end)
        for panel in panels()
        for query in panel.queries
    }
    draw(list(panels()), answers, begin, file)
    size = file.stat().st_size
    ill = {status for status in answered if status != httpx.codes.OK}
    return [f"the healthy time had {answered}"] * bool(ill) + [f"{file} has {size} bytes"] * (size > MAX_PICTURE_BYTES)


async def healthy(server: Command) -> dict[int, int]:
    """Load the server as much as it can take; returns the number of answers by status."""
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
        load = Traffic(client, "127.0.0.1", server.port)
        await load.steady(DRAWN_SECONDS, DRAWN_RATE, photos(40))
        return load.statuses


async def traffic(server: Command) -> None:
    """A calm time, a crowd, a worker that dies, and a calm time with darker pictures."""
    bright, dark = photos(40), photos(40, brightness=0.2)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    async with httpx.AsyncClient(base_url=server.url, timeout=30, limits=limits) as client:
        load = Traffic(client, "127.0.0.1", server.port)
        say("a time with idle cores, for copies")
        await load.steady(10, IDLE_RATE, bright)
        say("a calm time")
        await load.steady(15, RATE, bright)
        await asyncio.gather(load.steady(10, RATE, bright), load.mistakes(bright[0]), load.leave(bright[0], 10))
        say("a crowd")
        await load.crowd(12, 40, bright)
        await asyncio.gather(load.steady(3, RATE, bright), load.hold(3, MIB, 4), load.mistakes(bright[1]))
        say("a worker dies")
        os.kill(server.workers()[0], signal.SIGKILL)
        await load.steady(10, RATE, bright)
        say("darker pictures")
        await load.steady(25, RATE, dark)
        say(f"statuses: {dict(sorted(load.statuses.items()))}")


def check_metrics(prometheus: Prometheus, seconds: float) -> list[str]:
    """A fault for each metric of the server that never had a value above 0."""
    series = [
        (metric.name, metric.name + {"counter": "_total", "histogram": "_count"}.get(metric.type, ""))
        for metrics in (Metrics(), SupervisorMetrics())
        for metric in metrics.registry.collect()
        if metric.name.startswith("emo_")
    ]
    window = f"[{seconds:.0f}s]"
    faults = [name for name, count in series if not prometheus.now(f"max(max_over_time({count}{window})) > 0")]
    say(f"{len(series) - len(faults)} of {len(series)} metrics of the server were seen")
    return [f"{name} was never above 0" for name in faults]


def check_rules(prometheus: Prometheus) -> list[str]:
    """A fault for each rule that Prometheus cannot evaluate."""

    def all_rules() -> list[dict[str, str]]:
        return [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]

    eventually(lambda: all(rule["health"] != "unknown" for rule in all_rules() if rule["type"] == "alerting"), 60)
    bad = [f"rule {rule['name']}: {rule['lastError']}" for rule in all_rules() if rule["health"] == "err"]
    say(f"{len(all_rules()) - len(bad)} rules run")
    return bad


def check_panel(prometheus: Prometheus, panel: Panel, begin: float, end: float) -> list[str]:
    """Ask what the panel asks; a fault for each question whose answer is empty or nothing but zeros."""
    faults, count = [], 0
    for query in panel.queries:
        found = prometheus.range(filled(query.expression, VARIABLES), begin, end)
        count += len(found)
        if not any(value > 0 for series in found for value in series.values):
            what = "only zeros" if found else "nothing"
            faults.append(f"panel {panel.title!r} shows {what}: {query.expression}")
    if panel.queries:
        say(f"panel {panel.title!r}: {count} series")
    return faults


if __name__ == "__main__":
    sys.exit(main())
