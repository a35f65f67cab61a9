"""``emo-serve batch --engine ray``: a cluster of Ray's on this machine, real processes, real kills."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from emo_serve.process.exit_codes import EXIT_INTERRUPTED, EXIT_OK, EXIT_STARTUP
from tests.offline.folders import write_pictures
from tests.on_ray.processes import actors, addresses_listened_on, descendants, is_loopback, wait_for
from tests.serving import emo_serve
from tests.support import write_classifier

PICTURES = 1200
DEADLY_FOR_ACTORS = """
import importlib, os, signal, sys
sys.path.remove(os.path.dirname(os.path.dirname(__file__)))
del sys.modules["onnxruntime"]
real = importlib.import_module("onnxruntime")
if any("default_worker" in word for word in sys.argv):
    real.InferenceSession = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``models``, ``photos`` with a broken one, and ``local``, what the local engine makes of them."""
    folder = tmp_path_factory.mktemp("job")
    write_classifier(folder / "models")
    write_pictures(folder / "photos", PICTURES, broken=frozenset({7}))
    assert finish(start(folder, "local", "local")) == (EXIT_OK, "")
    return folder


def start(folder: Path, engine: str, out: str) -> "subprocess.Popen[str]":
    paths = (str(folder / "photos"), "--out", str(folder / out), "--models", str(folder / "models"))
    return emo_serve("batch", *paths, "--shard-size", "20", "--processes", "2", "--engine", engine)


def finish(job: "subprocess.Popen[str]") -> tuple[int, str]:
    """The exit status, and the faults in what was said."""
    _, errors = job.communicate(timeout=240)
    return job.returncode, "\n".join(line for line in errors.splitlines() if line.startswith(("emo-serve:", "Trace")))


def shards(folder: Path) -> list[Path]:
    return list(folder.glob("part-*"))


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def test_killed_actors_are_replaced_and_the_files_are_those_of_the_local_engine(place: Path) -> None:
    job = start(place, "ray", "killed")
    wait_for(lambda: len(shards(place / "killed")) >= 2)
    listened = set(addresses_listened_on(descendants(job.pid)))
    assert listened
    assert [address for address in listened if not is_loopback(address)] == []
    victims = actors(job.pid)
    assert victims
    os.kill(victims[0], signal.SIGKILL)
    assert finish(job) == (EXIT_OK, "")
    assert content(place / "killed") == content(place / "local")


def test_a_killed_driver_takes_ray_along_and_the_next_run_goes_on(place: Path) -> None:
    job = start(place, "ray", "resumed")
    wait_for(lambda: len(shards(place / "resumed")) >= 2)
    job.kill()
    job.communicate(timeout=60)
    assert len(shards(place / "resumed")) < PICTURES / 20
    assert finish(start(place, "ray", "resumed")) == (EXIT_OK, "")
    assert content(place / "resumed") == content(place / "local")


def test_actors_that_die_whenever_they_load_the_model_end_the_job(place: Path) -> None:
    (place / "deadly" / "onnxruntime").mkdir(parents=True)
    (place / "deadly" / "onnxruntime" / "__init__.py").write_text(DEADLY_FOR_ACTORS)
    paths = (str(place / "photos"), "--out", str(place / "dead"), "--models", str(place / "models"))
    search = os.pathsep.join((str(place / "deadly"), os.environ.get("PYTHONPATH", "")))
    status, said = finish(emo_serve("batch", *paths, "--processes", "1", "--engine", "ray", PYTHONPATH=search))
    assert status == EXIT_STARTUP
    assert "5 processes in a row ended as they loaded the model" in said


def test_a_stop_signal_lets_shards_end(place: Path) -> None:
    job = start(place, "ray", "stopped")
    wait_for(lambda: len(shards(place / "stopped")) >= 2)
    job.send_signal(signal.SIGTERM)
    status, said = finish(job)
    assert status == EXIT_INTERRUPTED
    assert "finishing the shards that were begun" in said
    assert not list((place / "stopped").glob(".part-*"))


@pytest.mark.parametrize("seconds", [0.5, 1.5, 4])
def test_a_stop_signal_while_ray_starts_interrupts(place: Path, seconds: float) -> None:
    out = place / f"early-{seconds}"
    job = start(place, "ray", out.name)
    wait_for((out / "job.json").exists)
    time.sleep(seconds)
    job.send_signal(signal.SIGTERM)
    status, said = finish(job)
    assert status == EXIT_INTERRUPTED
    assert "Trace" not in said


def test_a_shard_that_cannot_be_written_ends_the_job_and_is_named(place: Path) -> None:
    job = start(place, "ray", "full")
    wait_for(lambda: bool(actors(job.pid)))  # the shards that are missing were counted
    (place / "full" / "part-00003-of-00060.jsonl").mkdir()
    status, said = finish(job)
    assert status == EXIT_STARTUP
    assert f"part-00003-of-00060.jsonl failed 5 times, from {place}/photos/0060.png on" in said
