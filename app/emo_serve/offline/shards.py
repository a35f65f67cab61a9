"""Shards: a list of pictures comes in, a file of answers goes out, and pixels stay inside."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from emo_serve.engine.repository.artefacts import read_artefact
from emo_serve.errors import StartupError
from emo_serve.offline.formats import Format, writer_for
from emo_serve.offline.output import Output
from emo_serve.offline.predictor import load_predictor
from emo_serve.offline.sources import Source, ask_about
from emo_serve.prefetch import prefetch
from emo_serve.settings import Settings
from emo_serve.vision.results import Parameters

_REPORT_SECONDS = 0.5
_REQUESTS = 8
"""To an object store at a time: one takes longer than a picture."""


@dataclass(frozen=True, slots=True)
class Work:
    """The settings that all shards of a job share."""

    folder: Path
    """Of the model's version."""
    digest: str
    """Of its manifest, and so of its files: another machine may have others under this name."""
    settings: Settings
    parameters: Parameters
    file_format: Format
    output: Output


@dataclass(frozen=True, slots=True)
class Shard:
    """One output file: its pictures, and the position of the first of them among all inputs."""

    sources: Sequence[Source]
    start: int
    name: str


@dataclass(frozen=True, slots=True)
class Report:
    """Pictures done since the last report, how many of them could not be answered, and whether the shard is written."""

    pictures: int
    failed: int
    is_written: bool


class ShardComputer:
    """A loaded model that computes shards, one at a time."""

    def __init__(self, work: Work) -> None:
        """Load the model; raises StartupError."""
        artefact = read_artefact(work.folder, work.settings.require_signature)
        if artefact.digest != work.digest:
            msg = f"{work.folder}: is not the model of this job: its digest is {artefact.digest}, not {work.digest}"
            raise StartupError(msg)
        self._work = work
        self._predictor = load_predictor(artefact, work.settings)
        self._write = writer_for(work.file_format, artefact.manifest.task, artefact.labels)

    def compute(self, shard: Shard) -> Iterator[Report]:
        """Compute a shard, and report at most twice a second, at last that it is written.

        Raises StartupError if an object store cannot be reached, or the file not be written.
        """
        rows: list[dict[str, Any]] = []
        failed = reported = 0
        reported_at = time.monotonic()
        for row in self._answers(shard.sources):
            rows.append(row)
            failed += row["error"] is not None
            if time.monotonic() - reported_at > _REPORT_SECONDS:
                yield Report(len(rows) - reported, failed, is_written=False)
                reported, failed, reported_at = len(rows), 0, time.monotonic()
        self._work.output.write_file(shard.name, lambda path: self._write(path, shard.start, rows))
        yield Report(len(rows) - reported, failed, is_written=True)

    def _answers(self, sources: Sequence[Source]) -> Iterator[dict[str, Any]]:
        """A row for each picture."""
        artefact, most = self._predictor.artefact, self._predictor.limits.max_bytes
        model = {"name": artefact.manifest.name, "version": artefact.manifest.version, "sha256": artefact.sha256}
        for source in _at_hand(sources, most):
            answer, error = ask_about(source, most, self._ask)
            yield {"input": source.name, "error": error, **answer, "model": model}

    def _ask(self, data: bytes) -> dict[str, Any]:
        return self._predictor.document(self._predictor.predict(data, self._work.parameters))


def _at_hand(sources: Sequence[Source], most: int) -> Iterable[Source]:
    """The sources, those of an object store fetched ahead, still encoded; raises StoreFault."""
    if any(source.url for source in sources):
        return prefetch(partial(_fetched, most), sources, _REQUESTS)
    return sources


def _fetched(most: int, source: Source) -> Source:
    return source.fetched(most) if source.url else source
