"""A batch job: what it is about, and which of its shards are there.

``job.json`` identifies the inputs, the model and the parameters. A shard is one output file, whole or absent: to resume
is to compute those that are missing.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from emo_serve.errors import StartupError
from emo_serve.offline.formats import SUFFIXES, Format, failures_in
from emo_serve.offline.output import Output
from emo_serve.offline.shards import Shard
from emo_serve.offline.sources import Source
from emo_serve.prefetch import prefetch

JOB_FILE = "job.json"
_READS = 4  # of output files at a time


@dataclass(frozen=True, slots=True)
class Job:
    """Identity of a batch job; any difference makes it another one."""

    model: str
    version: str
    model_digest: str
    """Of the manifest, which lists those of the files."""
    parameters: dict[str, Any]
    format: Format
    shard_size: int
    inputs: int
    inputs_sha256: str


def inputs_digest(sources: Sequence[Source]) -> str:
    """SHA-256 of the names of the inputs, in order."""
    return hashlib.sha256("\0".join(source.name for source in sources).encode()).hexdigest()


class JobOutput:
    """The output of one job."""

    def __init__(self, output: Output, job: Job) -> None:
        """Look into the folder; raises StartupError as ``is_begun``."""
        self._output = output
        self._job = job
        self.is_begun()

    def is_begun(self) -> bool:
        """True if the folder holds the job already; raises StartupError if it holds another one, or foreign files."""
        there, address = self._output.names(), self._output.address("")
        if JOB_FILE in there:
            if differing := _differences(self._output, self._identity()):
                what = ", ".join(differing)
                msg = f"{address}: holds another job, which differs in {what}; choose another --out"
                raise StartupError(msg)
            return True
        if there:
            msg = f"{address}: is not empty, and has no {JOB_FILE}; choose another --out"
            raise StartupError(msg)
        return False

    def begin(self) -> None:
        """Begin or resume the job in a folder that is locked by now; raises StartupError as ``is_begun``."""
        if not self.is_begun():
            self._output.write_text(JOB_FILE, json.dumps(self._identity(), indent=2) + "\n")
        self._output.remove_leftovers()

    def missing(self, sources: Sequence[Source]) -> Iterator[Shard]:
        """The shards of the sources that are not there yet."""
        there, size = self._output.names(), self._job.shard_size
        for number, name in enumerate(self._shard_names()):
            if name not in there:
                yield Shard(sources[number * size : (number + 1) * size], number * size, name)

    def failures(self) -> int:
        """The pictures with an error in the shards that are there; raises StartupError for one that is unreadable."""
        there = self._output.names()
        return sum(prefetch(self._failures_in, (name for name in self._shard_names() if name in there), _READS))

    def _identity(self) -> dict[str, Any]:
        identity: dict[str, Any] = json.loads(json.dumps(asdict(self._job)))  # tuples become lists, as in the file
        return identity

    def _failures_in(self, name: str) -> int:
        try:
            return failures_in(self._job.format, self._output.read_bytes(name))
        except (OSError, ValueError) as error:
            msg = f"{self._output.address(name)}: cannot be read: {error}; remove it, to have it computed again"
            raise StartupError(msg) from error

    def _shard_names(self) -> Iterator[str]:
        count = -(-self._job.inputs // self._job.shard_size)
        return (f"part-{number:05d}-of-{count:05d}.{SUFFIXES[self._job.format]}" for number in range(count))


def _differences(output: Output, wanted: dict[str, Any]) -> list[str]:
    try:
        found = json.loads(output.read_text(JOB_FILE))
    except ValueError as error:
        msg = f"{output.address(JOB_FILE)}: is no JSON: {error}"
        raise StartupError(msg) from error
    if not isinstance(found, dict):
        return [JOB_FILE]
    absent = f" (which {JOB_FILE} lacks: another version of emo-serve began it)"
    differing = [name for name in wanted if found.get(name) != wanted[name]]
    return [name if name in found else name + absent for name in differing]
