"""Swap the versions of a model again and again under load: nothing may fail, be mixed up or stay in memory.

    python -m tests.swapping        (make swap-test)

A real server, with one process and with two workers, swapped by its administration and by watching the folder. Clients
in a closed loop send pictures whose answers are known: every second version has its outputs and its labels turned by
one place, so an answer that is not wholly of the version that it names is wrong in its label, its name or its score.
"""

import contextlib
import json
import math
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import httpx

from tests.load.clients import Answer, Clients, Post
from tests.serving import Command, commanded, eventually
from tests.support import COLOURS, encode_image, plain, write_classifier

NAME = "toy-classifier"
TOKEN = "for the tests only"  # noqa: S105  # as it says
WATCH_SECONDS = "0.1"
WIDTH = 150_000  # 3.6 MB of weights: a model that is not released shows
CLIENTS = 4
IMAGES = {colour: encode_image(plain(colour)) for colour in COLOURS}
MOST_GROWTH = 0.05
MOST_SWING = 0.15


@dataclass(slots=True)
class Tally:
    """Answers and errors that the clients got."""

    answers: int = 0
    failed: list[str] = field(default_factory=list)
    mixed: list[str] = field(default_factory=list)
    versions: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Footprint:
    """Memory, threads and descriptors of the answering processes."""

    mib: float
    threads: int
    files: int


class Swapper:
    """Puts the next version in the place of the last, in a server that runs."""

    def __init__(self, folder: Path, server: Command, *, administered: bool) -> None:
        self._models = folder / "models"
        self._stage = folder / "stage"
        self._server = server
        self._administered = administered
        self._version = 1

    def swap(self) -> None:
        """Bring the next version in, have it answer, take the last one away."""
        old, new = str(self._version), str(self._version + 1)
        stage(self._stage, new).rename(self._models / NAME / new)
        if self._administered:
            self._administer("POST", f"/models/{NAME}/{new}")
        eventually(lambda: new in served(self._server))
        gone = self._stage / f"gone-{old}"
        (self._models / NAME / old).rename(gone)
        if self._administered:
            self._administer("POST", "/rescan")
        eventually(lambda: served(self._server) == {new})  # of all workers
        shutil.rmtree(gone)
        self._version += 1

    def _administer(self, method: str, path: str) -> None:
        response = administer(self._server, method, path)
        assert response.status_code == 200, response.text


def administer(server: Command, method: str, path: str, token: str = TOKEN) -> httpx.Response:
    url = f"http://127.0.0.1:{server.admin_port}{path}"
    return httpx.request(method, url, headers={"Authorization": f"Bearer {token}"}, timeout=60)


def stage(folder: Path, version: str) -> Path:
    """A whole version, outside of the repository."""
    turn = int(version) % 2
    template = folder / f"turn-{turn}" / NAME / "1"
    if not template.exists():
        write_classifier(template.parent.parent, NAME, turn=turn, width=WIDTH)
    copy = folder / version
    shutil.copytree(template, copy)
    manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    (copy / "manifest.json").write_text(json.dumps(manifest | {"version": version}), encoding="utf-8")
    return copy


def served(server: Command) -> set[str]:
    """The versions of the model that any worker serves."""
    lines = httpx.get(f"{server.url}/metrics", timeout=20).text.splitlines()
    infos = [line for line in lines if line.startswith("emo_model_info{") and f'model="{NAME}"' in line]
    return {line.split('version="')[1].split('"')[0] for line in infos}


@contextlib.contextmanager
def load(server: Command) -> Iterator[Tally]:
    """Clients that always have a request under way, as long as the block lasts."""
    tally = Tally()

    def colour(number: int) -> str:
        return COLOURS[number % len(COLOURS)]

    with Clients(
        server.url,
        CLIENTS,
        lambda number: upload(colour(number), several=number % CLIENTS == 0),
        lambda number, _, answer: count(tally, colour(number), answer),
    ):
        yield tally


def upload(colour: str, *, several: bool) -> Post:
    """A request with one picture, or with two of them."""
    if not several:
        return Post("/classify", IMAGES[colour], "image/png")
    part = b'--next\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + IMAGES[colour] + b"\r\n"
    return Post("/classify", part + part + b"--next--\r\n", "multipart/form-data; boundary=next")


def count(tally: Tally, colour: str, answer: Answer) -> None:
    tally.answers += 1
    if answer.status != 200:
        tally.failed.append(str(answer))
        return
    content = json.loads(answer.body)
    results = content.get("results", [content])
    if any(is_wrong(result, colour) for result in results) or len({str(result) for result in results}) > 1:
        tally.mixed.append(str(answer))
        return
    tally.versions.add(results[0]["model"]["version"])


def is_wrong(result: dict[str, Any], colour: str) -> bool:
    """True if the answer is not that of the version that it names."""
    turn = int(result["model"]["version"]) % 2
    best = result["classifications"][0]
    sharp = math.exp(10 / (turn + 1))
    score = sharp / (sharp + 2)
    label = (COLOURS.index(colour) - turn) % 3
    return bool(best["name"] != colour or best["class_id"] != label or abs(best["score"] - score) > 1e-4)


def footprint(processes: list[int]) -> Footprint:
    """Their present footprint."""
    kib = [int(status_of(process, "VmRSS").split()[0]) for process in processes]
    threads = sum(int(status_of(process, "Threads")) for process in processes)
    files = sum(len(list(Path(f"/proc/{process}/fd").iterdir())) for process in processes)
    return Footprint(sum(kib) / 1024, threads, files)


def status_of(process: int, entry: str) -> str:
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return status.partition(f"\n{entry}:")[2].partition("\n")[0].strip()


@contextlib.contextmanager
def swapping(folder: Path, workers: int, *, administered: bool) -> Iterator[tuple[Command, Swapper]]:
    """A server that serves the first version, and what swaps it."""
    (folder / "models" / NAME).mkdir(parents=True)
    stage(folder / "stage", "1").rename(folder / "models" / NAME / "1")
    if administered:
        environment = {"EMO_ADMIN_PORT": "0", "EMO_ADMIN_TOKEN": TOKEN}
    else:
        environment = {"EMO_WATCH_SECONDS": WATCH_SECONDS}
    with commanded(folder / "models", folder / "log", workers, **environment) as server:
        yield server, Swapper(folder, server, administered=administered)
        assert server.stop() == 0


def run(workers: int, *, administered: bool, swaps: int, warm_up: int) -> bool:
    """Swap so many times and say what came of it; whether it was as it should be."""
    with (
        tempfile.TemporaryDirectory() as folder,
        swapping(Path(folder), workers, administered=administered) as (server, swapper),
        load(server) as tally,
    ):
        processes = server.workers() if workers > 1 else [server.process.pid]
        footprints = []
        began = 0.0
        for number in range(warm_up + swaps):
            if number == warm_up:
                began = time.monotonic()
            swapper.swap()
            footprints.append(footprint(processes))
        seconds = time.monotonic() - began
    # It swings by what the threads are just doing, from swap to swap, which the median of ten evens out, and by what
    # the C library keeps for them, in levels that last longer: so the trend counts, and not the two ends. What stays
    # only until the collector of garbage comes raises the highest level.
    before, after = footprints[warm_up - 1], footprints[-1]
    tens = [footprints[end - 10 : end] for end in range(warm_up, warm_up + swaps + 1, 10)]
    memory = [statistics.median(entry.mib for entry in ten) for ten in tens]
    lowest = min(memory[:3])
    growth, swing = trend(memory) * (len(memory) - 1) / lowest, max(memory) / lowest - 1
    is_flat = growth <= MOST_GROWTH and swing <= MOST_SWING
    good = not tally.failed and not tally.mixed and is_flat and len(tally.versions) > swaps
    way = "administered" if administered else "watched"
    sys.stdout.write(
        f"{'good' if good else 'BAD '}  {workers} process(es), {way}: {swaps} swaps in {seconds:.0f} s, "
        f"{tally.answers} requests, {len(tally.failed)} failed, {len(tally.mixed)} mixed up, "
        f"{len(tally.versions)} versions answered; memory from {lowest:.1f} MiB (trend {growth:+.1%}, "
        f"at most {swing:+.1%}), "
        f"threads {before.threads} -> {after.threads}, files {before.files} -> {after.files}\n"
        f"      memory after each ten swaps: {', '.join(f'{mib:.0f}' for mib in memory)} MiB\n"
    )
    for text in (tally.failed + tally.mixed)[:3]:
        sys.stdout.write(f"      {text}\n")
    sys.stdout.flush()
    return good


def trend(values: Sequence[float]) -> float:
    """The growth from one value to the next: the median over all pairs (Theil 1950, Sen 1968)."""
    pairs = combinations(enumerate(values), 2)
    return statistics.median((second - first) / (later - earlier) for (earlier, first), (later, second) in pairs)


def main() -> int:
    """All four ways; the exit status is 1 where one was not as it should be."""
    ways = [(workers, administered) for workers in (1, 2) for administered in (True, False)]
    good = [run(workers, administered=administered, swaps=100, warm_up=20) for workers, administered in ways]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
