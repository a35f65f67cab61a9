"""Split, shadow, promote and go back under load: nothing may fail or be mixed up, and no answer wait for a shadow.

    python -m tests.diverting           (make swap-test)
    python -m tests.diverting delay     (only how long answers take beside a shadow, four times as often: a 99th
                                         percentile of few answers says little)

Clients know the right answers, as in ``tests.swapping``, with one process and with two workers, administered and by
changed files. How long the answers of the shipped models take is measured on one server in turns: by an alias that has
a shadow, another version of the same network, and by one that has none.
"""

import contextlib
import io
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from emo_serve.__main__ import main as emo_serve
from emo_serve.engine.repository.serving_config import ServingConfig, update_serving_config
from emo_serve.engine.repository.traffic_config import Shadow, Split
from tests.load.arrivals import quantile
from tests.load.generator import Load, request_bytes
from tests.serving import Command, commanded, eventually
from tests.swapping import NAME, TOKEN, WATCH_SECONDS, Tally, administer, load, stage

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "models"
PHOTO = ROOT / "docs/images/motorcycle.jpg"
SEEN = 24  # answers in which both halves of a split are seen
BOTH, FIRST, SECOND = {"1", "2"}, {"1"}, {"2"}
STEPS = (("split", BOTH), ("shadow", BOTH), ("promote", SECOND), ("back", FIRST), ("shadow", FIRST), ("whole", FIRST))
MOST_DELAY = 1.1  # times the 99th percentile without a shadow
BLOCK_SECONDS = 2.0  # short ones see the same noise


class Administration:
    """Takes the steps over HTTP; they have been taken by all workers when it answers."""

    def __init__(self, server: Command) -> None:
        self._server = server

    def take(self, step: str) -> None:
        calls = {
            "split": (("PUT", "/split?version=2&share=0.5&by=request"),),
            "shadow": (("PUT", "/shadow?version=2"),),
            "whole": (("DELETE", "/split"), ("DELETE", "/shadow")),
            "promote": (("POST", "/promote?version=2"),),
            "back": (("POST", "/back"),),
        }
        for method, path in calls[step]:
            response = administer(self._server, method, f"/models/{NAME}/aliases/default{path}")
            assert response.status_code == 200, response.text


class Files:
    """Takes the steps in the repository, which the server watches."""

    def __init__(self, models: Path) -> None:
        self._models = models

    def take(self, step: str) -> None:
        split, shadow = Split(shares={"1": 0.5, "2": 0.5}, by="request"), Shadow(version="2", share=1)
        match step:
            case "split":
                self._change(lambda config: config.with_traffic("default", split=split, shadow=None))
            case "shadow":
                self._change(
                    lambda config: config.with_traffic("default", split=config.splits.get("default"), shadow=shadow)
                )
            case "whole":
                self._change(lambda config: config.with_traffic("default", split=None, shadow=None))
            case _:
                what = ("--back", NAME) if step == "back" else (NAME, "2")
                with contextlib.redirect_stdout(io.StringIO()):
                    assert emo_serve(["promote", "--models", str(self._models), *what]) == 0

    def _change(self, change: Callable[[ServingConfig], ServingConfig]) -> None:
        update_serving_config(self._models / NAME, change)


@contextlib.contextmanager
def diverting(folder: Path, workers: int, *, administered: bool) -> Iterator[tuple[Command, Administration | Files]]:
    """A server with two versions, the first of which is pinned, and what changes that."""
    models = folder / "models"
    (models / NAME).mkdir(parents=True)
    for version in ("1", "2"):
        stage(folder / "stage", version).rename(models / NAME / version)
    (models / NAME / "serving.json").write_text('{"aliases": {"default": "1"}}')
    environment = {"EMO_ADMIN_PORT": "0", "EMO_ADMIN_TOKEN": TOKEN}
    if not administered:
        environment = {"EMO_WATCH_SECONDS": WATCH_SECONDS}
    with commanded(models, folder / "log", workers, **environment) as server:
        yield server, Administration(server) if administered else Files(models)
        assert server.stop() == 0


def take_steps(server: Command, tally: Tally, way: Administration | Files) -> None:
    """Take each step and wait until the right versions, and no others, answer, and a shadow gets copies."""
    for step, expected in STEPS:
        before = sum(copies(server).values())
        way.take(step)
        if step == "shadow":
            eventually(lambda before=before: sum(copies(server).values()) > before)  # type: ignore[misc]  # as below
        eventually(lambda expected=expected: answering(tally) == expected)  # type: ignore[misc]  # cannot be inferred


def answering(tally: Tally) -> set[str]:
    """The versions of the next answers."""
    tally.versions.clear()
    begin = tally.answers
    eventually(lambda: tally.answers >= begin + SEEN or bool(tally.failed))
    return set(tally.versions)


def copies(server: Command) -> dict[str, float]:
    """Copies for shadows by how they ended."""
    lines = httpx.get(f"{server.url}/metrics", timeout=20).text.splitlines()
    found = [line for line in lines if line.startswith("emo_shadow_copies_total{")]
    return {line.split('outcome="')[1].split('"')[0]: float(line.rpartition(" ")[2]) for line in found}


def run(workers: int, *, administered: bool, cycles: int) -> bool:
    """Take all steps so many times and say what came of it; whether it was as it should be."""
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        diverting(Path(folder), workers, administered=administered) as (server, way),
    ):
        with load(server) as tally:
            for _ in range(cycles):
                take_steps(server, tally, way)
        copied = copies(server)
    good = not tally.failed and not tally.mixed and copied["compared"] > 0 and not copied["failed"]
    sys.stdout.write(
        f"{'good' if good else 'BAD '}  {workers} process(es), {'administered' if administered else 'watched'}: "
        f"{cycles * len(STEPS)} changes in {time.monotonic() - began:.0f} s, {tally.answers} requests, "
        f"{len(tally.failed)} failed, {len(tally.mixed)} mixed up; copies: {copied}\n"
    )
    for text in (tally.failed + tally.mixed)[:3]:
        sys.stdout.write(f"      {text}\n")
    sys.stdout.flush()
    return good


# ---- how long answers take -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Case:
    """What is asked, how often a second, of how many processes."""

    path: str
    model: str
    rate: float
    workers: int


CASES = (
    Case("/classify", "emo-1m", 30, 1),
    Case("/classify", "emo-1m", 30, 2),
    Case("/detect", "ssdlite-emo-1m", 8, 1),
    Case("/detect", "ssdlite-emo-1m", 8, 2),
)


def measure(case: Case, pairs: int) -> bool:
    """Ask in turns with and without a shadow, and say what came of it; whether the delay was small enough."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        own, other = two_versions(folder / "models", case.model)
        config = {
            "aliases": {"default": own, "alone": own},
            "shadows": {"default": {"version": other, "share": 1}},
        }
        (folder / "models" / case.model / "serving.json").write_text(json.dumps(config))
        seconds: dict[str, list[float]] = {"alone": [], "default": []}
        ratios, good = [], True
        with commanded(folder / "models", folder / "log", case.workers, EMO_TUNE="false") as server:
            for number in range(pairs + 1):
                p99 = {}
                for alias in ("alone", "default") if number % 2 else ("default", "alone"):
                    url = f"{server.url}{case.path}?model={case.model}&version={alias}"
                    request = request_bytes(url, PHOTO.read_bytes())
                    loaded = Load(("127.0.0.1", server.port), request, 64, f'"version":"{own}"'.encode())
                    result = loaded.open_loop(BLOCK_SECONDS, case.rate)
                    good &= set(result.statuses) == {200} and not (result.lost or result.wrong or result.unanswered)
                    if number:  # the first pair warms up
                        seconds[alias] += result.seconds
                        p99[alias] = result.quantile(0.99)
                if number:
                    ratios.append(p99["default"] / p99["alone"])
            copied = copies(server)
            server.stop()
    milliseconds = {
        share: [quantile(seconds[alias], share) * 1000 for alias in ("alone", "default")] for share in (0.5, 0.99)
    }
    ratio = milliseconds[0.99][1] / milliseconds[0.99][0]
    good &= ratio <= MOST_DELAY
    sys.stdout.write(
        f"{'good' if good else 'BAD '}  {case.path}, {case.workers} process(es), {case.rate:g}/s, {pairs} pairs: "
        f"median {milliseconds[0.5][0]:.1f} -> {milliseconds[0.5][1]:.1f} ms, "
        f"p99 {milliseconds[0.99][0]:.1f} -> {milliseconds[0.99][1]:.1f} ms beside a shadow, {ratio:.2f} times "
        f"(median of the pairs {statistics.median(ratios):.2f}); copies: {copied}\n"
    )
    sys.stdout.flush()
    return good


def two_versions(models: Path, name: str) -> tuple[str, str]:
    """Copy the shipped version of a model, and once more with the next number; the numbers."""
    shutil.copytree(MODELS / name, models / name)
    (only,) = (path.name for path in (models / name).iterdir() if path.is_dir())
    other = str(int(only) + 1)
    shutil.copytree(models / name / only, models / name / other)
    manifest = models / name / other / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text(encoding="utf-8")) | {"version": other}))
    return only, other


def main() -> int:
    """All ways and cases; the exit status is 1 where one was not as it should be."""
    ways = [(workers, administered) for workers in (1, 2) for administered in (True, False)]
    good, pairs = [], 60
    if "delay" not in sys.argv[1:]:
        good += [run(workers, administered=administered, cycles=4) for workers, administered in ways]
        pairs = 15
    good += [measure(case, pairs) for case in CASES]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
