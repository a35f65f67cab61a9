"""A process that computes shards: paths come in, files go out, and pixels stay inside."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from emo_serve.engine.repository.artefacts import read_artefact
from emo_serve.errors import StartupError
from emo_serve.offline.predictor import Predictor, load_predictor
from emo_serve.offline.shards import Format, writer_for
from emo_serve.offline.sources import Source, ask_about
from emo_serve.settings import Settings
from emo_serve.vision.results import Parameters

_REPORT_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Work:
    """The settings that all shards of a job share."""

    folder: Path
    """Of the model's version."""
    settings: Settings
    parameters: Parameters
    file_format: Format


@dataclass(frozen=True, slots=True)
class Shard:
    """One output file: its pictures, and the position of the first of them among all inputs."""

    sources: Sequence[Source]
    start: int
    path: Path


@dataclass(frozen=True, slots=True)
class Report:
    """Pictures done since the last report, how many of them could not be answered, and whether the shard is written."""

    pictures: int
    failed: int
    is_written: bool


def compute_shards(work: Work, link: Connection) -> None:
    """Compute each shard that comes through ``link``, and report; return when the other end is closed.

    A model that cannot be loaded, or a shard that cannot be written, is reported by its fault, as text.

    Signals for the whole process group are left to the parent, which lets shards end first.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        predictor = load_predictor(read_artefact(work.folder, work.settings.require_signature), work.settings)
    except StartupError as error:
        link.send(str(error))
        return
    artefact = predictor.artefact
    write = writer_for(work.file_format, artefact.manifest.task, artefact.labels)
    with suppress(EOFError, BrokenPipeError):  # the parent is gone
        while True:
            shard: Shard = link.recv()
            rows: list[dict[str, Any]] = []
            report = _Reporter(link)
            for row in _answers(predictor, work.parameters, shard.sources):
                rows.append(row)
                report.add(failed=row["error"] is not None)
            partial = shard.path.with_name(f".{shard.path.name}.{os.getpid()}")
            try:
                write(partial, shard.start, rows)
                with partial.open("rb+") as file:
                    os.fsync(file.fileno())
                partial.replace(shard.path)
            except OSError as error:
                with suppress(OSError):
                    partial.unlink()
                link.send(f"{shard.path}: cannot be written: {error.strerror or error}; run it again to go on")
                return
            report.send(is_written=True)


class _Reporter:
    """Reports at most twice a second."""

    def __init__(self, link: Connection) -> None:
        self._link = link
        self._pictures = self._failed = 0
        self._sent_at = time.monotonic()

    def add(self, *, failed: bool) -> None:
        self._pictures += 1
        self._failed += failed
        if time.monotonic() - self._sent_at > _REPORT_SECONDS:
            self.send(is_written=False)

    def send(self, *, is_written: bool) -> None:
        self._link.send(Report(self._pictures, self._failed, is_written))
        self._pictures = self._failed = 0
        self._sent_at = time.monotonic()


def _answers(predictor: Predictor, parameters: Parameters, sources: Sequence[Source]) -> Iterator[dict[str, Any]]:
    """A row for each picture."""
    manifest = predictor.artefact.manifest
    model = {"name": manifest.name, "version": manifest.version, "sha256": predictor.artefact.sha256}

    def ask(data: bytes) -> dict[str, Any]:
        return predictor.document(predictor.predict(data, parameters))

    for source in sources:
        answer, error = ask_about(source, predictor.limits.max_bytes, ask)
        yield {"input": source.name, "error": error, **answer, "model": model}
