"""A batch job on disk: what it is about, which of its shards are there, and who is at work on it.

``job.json`` identifies the inputs, the model and the parameters. A shard is one output file, whole or absent: to resume
is to compute those that are missing.
"""

import fcntl
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from emo_serve.atomic import atomic_write
from emo_serve.errors import StartupError
from emo_serve.offline.sources import Source

JOB_FILE = "job.json"
_LOCK_FILE = ".lock"


@dataclass(frozen=True, slots=True)
class Job:
    """Identity of a batch job; any difference makes it another one."""

    model: str
    version: str
    model_sha256: str
    parameters: dict[str, Any]
    format: str
    shard_size: int
    inputs: int
    inputs_sha256: str


def inputs_digest(sources: Sequence[Source]) -> str:
    """SHA-256 of the names of the inputs, in order."""
    return hashlib.sha256("\0".join(source.name for source in sources).encode()).hexdigest()


class OutputFolder:
    """The folder of one job."""

    def __init__(self, folder: Path, job: Job, suffix: str) -> None:
        """Begin or resume the job; raises StartupError if the folder holds another one, or foreign files."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._suffix = suffix
        self.shards = math.ceil(job.inputs / job.shard_size)
        path, wanted = folder / JOB_FILE, json.loads(json.dumps(asdict(job)))
        if not path.exists():
            if any(not entry.name.startswith(".") for entry in folder.iterdir()):
                msg = f"{folder}: is not empty, and has no {JOB_FILE}; choose another --out"
                raise StartupError(msg)
            atomic_write(path, json.dumps(wanted, indent=2) + "\n")
        elif differing := _differences(path, wanted):
            msg = f"{folder}: holds another job, which differs in {', '.join(differing)}; choose another --out"
            raise StartupError(msg)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Only one process at a time works on the job; leftovers of a killed one are removed.

        Raises StartupError while another one does.
        """
        with (self._folder / _LOCK_FILE).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                msg = f"{self._folder}: another process is at work on this job"
                raise StartupError(msg) from error
            for leftover in self._folder.glob(".part-*"):
                leftover.unlink()
            yield

    def path(self, shard: int) -> Path:
        """The file of a shard."""
        return self._folder / f"part-{shard:05d}-of-{self.shards:05d}.{self._suffix}"

    def missing(self) -> list[int]:
        """Shards that are not there yet."""
        return [shard for shard in range(self.shards) if not self.path(shard).exists()]


def _differences(path: Path, wanted: dict[str, Any]) -> list[str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        msg = f"{path}: is no JSON: {error}"
        raise StartupError(msg) from error
    if not isinstance(found, dict):
        return [JOB_FILE]
    return [name for name in wanted if found.get(name) != wanted[name]]
