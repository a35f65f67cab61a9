"""A long job of ``emo-serve batch --engine ray``: flat memory, then actors and the driver killed, and the same files.

    python -m tests.on_ray.soak [--pictures 50000]        (make ray-soak)

Three times the same pictures: with processes; with Ray; and with Ray while an actor is killed every 20 seconds and the
driver once, after a minute. All three must write the same bytes, and memory may not grow over the
second, neither that of the driver nor that of the actors.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from tests.on_ray.processes import actors
from tests.swapping import status_of

ROOT = Path(__file__).parents[2]
PHOTO = ROOT / "docs/images/motorcycle.jpg"
SIDE, CROPS = 320, 500
SHARD = 250
KILL_SECONDS = 20
DRIVER_KILLED_AFTER_SECONDS = 60
MOST_GROWTH = 0.05
_TICK_SECONDS = 0.5


@dataclass(slots=True)
class Memory:
    """Resident MiB of a job's driver and of its actors together, at moments as shares of its shards."""

    samples: list[tuple[float, float, float]] = field(default_factory=list)

    def note(self, job: "subprocess.Popen[str]", done: float) -> None:
        """Add a sample, unless an actor is not there just now."""
        sizes = [resident_mib(pid) for pid in actors(job.pid)]
        if len(sizes) == os.cpu_count():
            self.samples.append((done, resident_mib(job.pid), sum(sizes)))

    def growth(self) -> tuple[float, float]:
        """Of the driver and of the actors, from the second tenth of the job to its last."""
        begin = [sample for sample in self.samples if 0.1 <= sample[0] < 0.2]
        end = [sample for sample in self.samples if sample[0] >= 0.9]
        driver, computing = (
            statistics.median(sample[column] for sample in end) / statistics.median(sample[column] for sample in begin)
            for column in (1, 2)
        )
        return driver - 1, computing - 1


def resident_mib(pid: int) -> float:
    """0 for a process that has ended."""
    try:
        return int(status_of(pid, "VmRSS").split()[0]) / 1024
    except (OSError, IndexError):  # IndexError: it has ended and was not waited for
        return 0.0


def write_photos(folder: Path, count: int) -> None:
    """Crops of a photo, each under many names."""
    folder.mkdir()
    with Image.open(PHOTO) as photo:
        across, down = photo.width - SIDE, photo.height - SIDE
        for number in range(min(CROPS, count)):
            left, top = number * 37 % across, number * 53 % down
            crop = photo.crop((left, top, left + SIDE, top + SIDE))
            crop.save(folder / f"{number:06d}.jpg", quality=85)
    for number in range(CROPS, count):
        (folder / f"{number:06d}.jpg").hardlink_to(folder / f"{number % CROPS:06d}.jpg")


class Soak:
    """The three jobs, in one folder."""

    def __init__(self, folder: Path, pictures: int) -> None:
        self._folder = folder
        self._shards = -(-pictures // SHARD)
        write_photos(folder / "photos", pictures)

    def run(self, engine: str, out: str, every_tick: Callable[["subprocess.Popen[str]", float], None]) -> float:
        """Seconds until the job ended; raises RuntimeError where it failed."""
        began = time.monotonic()
        job = self.start(engine, out)
        while job.poll() is None:
            every_tick(job, self.done(out))
            time.sleep(_TICK_SECONDS)
        if job.returncode != 0:
            raise RuntimeError((self._folder / f"{out}.log").read_text()[-2000:])
        return time.monotonic() - began

    def start(self, engine: str, out: str) -> "subprocess.Popen[str]":
        """The job, in the background."""
        words = ("--models", str(ROOT / "models"), "--shard-size", str(SHARD), "--engine", engine)
        command = [sys.executable, "-m", "emo_serve", "batch", "photos", "--out", out, *words]
        with (self._folder / f"{out}.log").open("a") as log:
            return subprocess.Popen(command, cwd=self._folder, stderr=log, text=True)

    def run_killed(self, out: str) -> tuple[float, int]:
        """Seconds of the job whose actors and driver are killed, and how many actors were."""
        killed = 0
        next_kill = KILL_SECONDS

        def kill_sometimes(job: "subprocess.Popen[str]", _done: float) -> None:
            nonlocal killed, next_kill
            if time.monotonic() - began < next_kill:
                return
            next_kill += KILL_SECONDS
            for victim in actors(job.pid)[:1]:
                os.kill(victim, signal.SIGKILL)
                killed += 1

        began = time.monotonic()
        first = self.start("ray", out)
        while time.monotonic() - began < DRIVER_KILLED_AFTER_SECONDS:
            kill_sometimes(first, 0)
            time.sleep(_TICK_SECONDS)
        first.kill()
        first.wait()
        _say(f"driver killed after {self.done(out):.0%} of the shards")
        self.run("ray", out, kill_sometimes)
        return time.monotonic() - began, killed

    def done(self, out: str) -> float:
        """Share of the shards that are written."""
        return len(list((self._folder / out).glob("part-*"))) / self._shards

    def content(self, out: str) -> dict[str, bytes]:
        """The bytes of each file."""
        return {path.name: path.read_bytes() for path in (self._folder / out).iterdir() if path.name != ".lock"}


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Print what came of it; 1 where it is bad."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=50_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder), options.pictures)
        memory = Memory()
        local = soak.run("local", "local", lambda _job, _done: None)
        _say(f"processes: {local:.0f} s")
        steady = soak.run("ray", "ray", memory.note)
        driver, computing = memory.growth()
        _say(f"Ray: {steady:.0f} s; memory: driver {driver:+.1%}, actors {computing:+.1%}")
        seconds, killed = soak.run_killed("killed")
        _say(f"Ray with {killed} actors and the driver killed: {seconds:.0f} s")
        same = soak.content("local") == soak.content("ray") == soak.content("killed")
    good = same and max(driver, computing) <= MOST_GROWTH
    _say(f"files {'are the same' if same else 'differ'}; verdict: {'good' if good else 'BAD'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
