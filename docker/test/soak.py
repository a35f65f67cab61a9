"""Everything at once, for long: ``soak.py [--seconds 600] [--rate 10] [--picture soak.png]``.

A constant load through HAProxy, each answer checked; every half a minute a burst at four times the rate; all the time
bodies that are truncated, garbage or far too large, and clients that leave; each minute, at once, a replica is killed
and a new version of the classifier takes the place of the last one in the folder that all replicas watch. One replica
is never killed: its memory is watched.

The verdict: no wrong or mixed-up answer, no failure other than the documented overload answer, a clear refusal of every
bad body, every new version in service in all replicas, and less than 5 % more memory than after the warm-up.
"""

import argparse
import re
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import matplotlib as mpl
from chaos import ROOT, URL, Stack, addresses, crash
from swapping import KINDS, Versions, swap

from tests.load.checked import CheckedLoad, Question, Report, photos, questions
from tests.load.clients import Post, connection, send

BURST_EVERY_SECONDS = 30
BURST_SECONDS = 3
BURST_RATE = 4
KILL_EVERY_SECONDS = 60
SWAP_EVERY_SECONDS = 60
SAMPLE_SECONDS = 2
WARM_UP_SHARE = 0.2
MOST_GROWTH = 0.05
CLEAR_REFUSALS = {413, 415, 422}
REPEATED_BYTES = 500_000
"""Larger bodies HAProxy does not keep (docs/deployment.md): those that a killed replica is just getting are lost."""
KILLING_SECONDS = 10


@dataclass(slots=True)
class Story:
    """Events of the run, in seconds since its start."""

    bursts: list[float] = field(default_factory=list)
    kills: list[float] = field(default_factory=list)
    swaps: list[tuple[float, float]] = field(default_factory=list)
    """When a new version came, and when the last one was gone from all replicas."""
    memory: list[tuple[float, float]] = field(default_factory=list)
    """Bytes of the replica that is spared."""
    refusals: dict[int, int] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    lost: int = 0
    """Bad bodies too large to be repeated, on their way to a replica that was killed."""
    left: int = 0


class Soak:
    """One run against a stack that is up."""

    def __init__(self, stack: Stack, versions: Versions, rate: float) -> None:
        self._stack = stack
        self._versions = versions
        self._rate = rate
        self._asked: list[Question] = questions(URL, photos(), KINDS)
        self._spared = stack.replicas()[-1]
        self._end = threading.Event()
        self._began = 0.0
        self.story = Story()
        self.bursts = Report()

    def run(self, seconds: float) -> Report:
        """Run it; returns the report of the constant load."""
        load = CheckedLoad(URL, self._asked, self._rate, may_be_refused=True)
        others = [
            partial(self._each, BURST_EVERY_SECONDS, self._burst),
            partial(self._each, KILL_EVERY_SECONDS, self._kill),
            partial(self._each, SWAP_EVERY_SECONDS, self._swap),
            partial(self._guarded, self._sample),
            partial(self._guarded, self._send_bad_bodies),
            partial(self._guarded, self._leave),
        ]
        threads = [threading.Thread(target=other) for other in others]
        self._began = time.monotonic()
        load.start()
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        self._end.set()
        for thread in threads:
            thread.join()
        return load.stop()

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  whatever it is, it belongs into the verdict
            self.story.complaints.append(f"{self._now():.1f} s: {work.__name__}: {error!r}")

    def _each(self, seconds: float, work: Callable[[], None]) -> None:
        for number in count(1):
            if self._end.wait(max(0.0, number * seconds - self._now())):
                break
            self._guarded(work)

    def _burst(self) -> None:
        self.story.bursts.append(self._now())
        load = CheckedLoad(URL, self._asked, BURST_RATE * self._rate, may_be_refused=True)
        load.start()
        self._end.wait(BURST_SECONDS)
        report = load.stop()
        self.bursts.answers += report.answers
        self.bursts.refused += report.refused
        self.bursts.failures += report.failures

    def _kill(self) -> None:
        """A replica crashes; the engine starts it again."""
        self.story.kills.append(self._now())
        crash(self._stack, next(replica for replica in self._stack.replicas() if replica != self._spared))

    def _swap(self) -> None:
        began = self._now()
        swap(self._stack, self._versions, self._asked[0])
        self.story.swaps.append((began, self._now()))

    def _sample(self) -> None:
        (address,) = addresses(self._spared)
        while not self._end.wait(SAMPLE_SECONDS):
            text = httpx.get(f"{address}/metrics", timeout=30).text
            match = re.search(r"^process_resident_memory_bytes (\S+)$", text, flags=re.MULTILINE)
            if match:
                self.story.memory.append((self._now(), float(match[1])))

    def _send_bad_bodies(self) -> None:
        good = self._asked[0].post.body
        huge = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xff\xff\0\0\xff\xff\x08\x02\0\0\0" + bytes(1000)
        bodies = [good[:100], b"\xff\xd8\xff" + bytes(5000), bytes(range(256)) * 100, b"", huge, bytes(21 * 2**20)]
        http = connection(URL)
        number = 0
        while not self._end.wait(0.5):
            body = bodies[number % len(bodies)]
            number += 1
            answer = send(http, Post("/classify", body))
            if answer.status:
                self.story.refusals[answer.status] = self.story.refusals.get(answer.status, 0) + 1
            if answer.status in {0, HTTPStatus.BAD_GATEWAY} and len(body) > REPEATED_BYTES and self._is_killing():
                self.story.lost += 1
            elif answer.status not in CLEAR_REFUSALS and not answer.is_overload:
                self.story.complaints.append(f"{self._now():.1f} s: {len(body)} bad bytes: {answer}")

    def _is_killing(self) -> bool:
        return any(0 <= self._now() - kill < KILLING_SECONDS for kill in self.story.kills)

    def _leave(self) -> None:
        """Clients that close the connection in the middle of the body, and before the answer."""
        parts = urlsplit(URL)
        message = self._asked[0].post.message()
        while not self._end.wait(0.5):
            for sent in (message[: len(message) // 2], message):
                with socket.create_connection((parts.hostname, parts.port), timeout=30) as client:
                    client.sendall(sent)
                self.story.left += 1


def growth(memory: Sequence[tuple[float, float]]) -> float:
    """Growth from the fifth after the warm-up to the last one, by their medians."""
    share = max(1, int(len(memory) * WARM_UP_SHARE))
    after, last = memory[share : 2 * share], memory[-share:]
    return statistics.median(size for _, size in last) / statistics.median(size for _, size in after) - 1


def draw(path: Path, report: Report, story: Story) -> None:
    """The time line as a picture."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415  after the choice of a backend

    figure, (latency, memory) = plt.subplots(2, sharex=True, figsize=(12, 6), layout="constrained")
    latency.plot(*zip(*report.answers, strict=True), ".", markersize=2, label="answer")
    latency.plot(report.refused, [0.01] * len(report.refused), "x", color="tab:orange", label="refused")
    latency.set(yscale="log", ylabel="seconds to the answer")
    for name, moments, colour in (("burst", story.bursts, "0.8"), ("kill", story.kills, "tab:red")):
        for number, moment in enumerate(moments):
            latency.axvline(moment, color=colour, linewidth=1, label="" if number else name)
    for number, (began, ended) in enumerate(story.swaps):
        for axes in (latency, memory):
            axes.axvspan(began, ended, color="tab:green", alpha=0.3, linewidth=0, label="" if number else "swap")
    latency.legend(loc="upper right")
    memory.plot([moment for moment, _ in story.memory], [size / 2**20 for _, size in story.memory])
    memory.set(ylim=(0, None), ylabel="MiB of the spared replica", xlabel="seconds")
    figure.savefig(path, dpi=100)


def main() -> int:
    """Print the verdict, draw the picture; 1 where it is bad."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--rate", type=float, default=10, help="requests a second")
    parser.add_argument("--picture", type=Path, default=Path("soak.png"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        versions = Versions(ROOT / "models", models)
        stack = Stack("haproxy", "docker/test/soak.yml", SOAK_MODELS=str(models))
        with stack.running():
            soak = Soak(stack, versions, arguments.rate)
            report = soak.run(arguments.seconds)
    more = growth(soak.story.memory)
    bad = [*report.failures, *soak.bursts.failures, *soak.story.complaints]
    print(f"constant load: {report}\nbursts: {soak.bursts}")
    print(f"bad bodies, by status: {dict(sorted(soak.story.refusals.items()))}; lost in a kill: {soak.story.lost}")
    print(f"clients that left: {soak.story.left}")
    seconds = max((ended - began for began, ended in soak.story.swaps), default=0.0)
    print(f"kills: {len(soak.story.kills)}; swaps: {len(soak.story.swaps)}, the slowest took {seconds:.1f} s")
    print(f"memory of the replica that was spared, after the warm-up: {more:+.1%}")
    print(*bad[:20], sep="\n")
    draw(arguments.picture, report, soak.story)
    good = not bad and more < MOST_GROWTH
    print(f"verdict: {'good' if good else 'BAD'}; drawn in {arguments.picture}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
