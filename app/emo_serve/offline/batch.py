"""``emo-serve batch``: a model answers about many files, in all cores, into shards that are whole or absent."""

import argparse
import multiprocessing
import signal
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import cast

from emo_serve.engine.host import usable_cores
from emo_serve.engine.repository.artefacts import Artefact
from emo_serve.errors import InvalidParameter, StartupError
from emo_serve.offline.job import Job, OutputFolder, inputs_digest
from emo_serve.offline.parameters import parameters_of
from emo_serve.offline.predictor import find_artefact
from emo_serve.offline.progress import Progress
from emo_serve.offline.shards import SUFFIXES, writer_for
from emo_serve.offline.sources import STANDARD_INPUT, Source, find_sources
from emo_serve.offline.worker import Report, Shard, Work, compute_shards
from emo_serve.process.exit_codes import EXIT_FAILED_INPUTS, EXIT_INTERRUPTED, EXIT_OK, EXIT_STARTUP, EXIT_USAGE
from emo_serve.settings import Settings
from emo_serve.vision.results import Parameters

_JUDGED_FROM = 100  # pictures: fewer say little about the failure rate


def batch(options: argparse.Namespace, settings: Settings) -> int:
    """Answer about every picture; the exit code is 0 when all shards are there.

    It is 1 if the job cannot run, 2 for options that do not fit, 3 if too many pictures failed, 130 after a signal.
    """
    if (complaint := _complaint(options)) is not None:
        sys.stderr.write(f"emo-serve: {complaint}\n")
        return EXIT_USAGE
    artefact = find_artefact(settings, options.task, options.model)
    try:
        parameters = parameters_of(options, artefact.manifest.task, artefact.labels)
    except InvalidParameter as error:
        sys.stderr.write(f"emo-serve: {error}\n")
        return EXIT_USAGE
    writer_for(options.format, artefact.manifest.task, artefact.labels)  # says now what does not fit
    try:
        sources = list(find_sources(options.inputs))
    except ValueError as error:  # of a list
        sys.stderr.write(f"emo-serve: {error}\n")
        return EXIT_STARTUP
    output = OutputFolder(options.out, _job(options, artefact, parameters, sources), SUFFIXES[options.format])
    work = Work(artefact.model_path.parent, settings, parameters, options.format)
    with output.locked():
        return _compute(output, work, sources, options)


def _complaint(options: argparse.Namespace) -> str | None:
    if options.shard_size < 1:
        return f"--shard-size {options.shard_size}: allowed are 1 and more"
    if options.processes is not None and options.processes < 1:
        return f"--processes {options.processes}: allowed are 1 and more"
    if not 0 <= options.max_failure_rate <= 1:
        return f"--max-failure-rate {options.max_failure_rate}: allowed is 0 to 1"
    if STANDARD_INPUT in options.inputs:
        return "-: standard input cannot be read again to resume; write it into a file, or use predict"
    return None


def _job(options: argparse.Namespace, artefact: Artefact, parameters: Parameters, sources: Sequence[Source]) -> Job:
    return Job(
        model=artefact.manifest.name,
        version=artefact.manifest.version,
        model_sha256=artefact.sha256,
        parameters=asdict(parameters),
        format=options.format,
        shard_size=options.shard_size,
        inputs=len(sources),
        inputs_sha256=inputs_digest(sources),
    )


def _compute(output: OutputFolder, work: Work, sources: Sequence[Source], options: argparse.Namespace) -> int:
    missing = deque(_shards(output, sources, options.shard_size))
    progress = Progress(sum(len(shard.sources) for shard in missing), len(sources))
    count = min(options.processes or usable_cores(), len(missing))
    too_many_failed = False
    with _stop_signals() as signals, _workers(work, count) as workers:
        for worker in workers:
            worker.send(missing.popleft())
        busy = {worker.link: worker for worker in workers}
        while busy:
            for link in wait(list(busy)):
                worker = busy[cast("Connection", link)]
                report = worker.receive()
                progress.add(report.pictures, report.failed)
                is_judged = progress.done >= min(_JUDGED_FROM, progress.total)
                too_many_failed |= is_judged and progress.failure_rate > options.max_failure_rate
                if report.is_written and missing and not signals and not too_many_failed:
                    worker.send(missing.popleft())
                elif report.is_written:
                    del busy[worker.link]
        progress.close()
    if too_many_failed:
        sys.stderr.write(f"emo-serve: {progress.failure_rate:.1%} of the pictures failed\n")
        return EXIT_FAILED_INPUTS
    return EXIT_INTERRUPTED if missing else EXIT_OK


def _shards(output: OutputFolder, sources: Sequence[Source], size: int) -> Iterator[Shard]:
    """The shards that are missing."""
    for shard in output.missing():
        yield Shard(sources[shard * size : (shard + 1) * size], shard * size, output.path(shard))


@dataclass(frozen=True, slots=True)
class _Worker:
    process: BaseProcess
    link: Connection

    def send(self, shard: Shard) -> None:
        """Let it compute a shard; raises StartupError if it has ended."""
        try:
            self.link.send(shard)
        except BrokenPipeError as error:
            raise self._ended() from error

    def receive(self) -> Report:
        """The next report; raises StartupError if it cannot load the model or write a shard, or has ended."""
        try:
            report: Report | str = self.link.recv()
        except (EOFError, ConnectionResetError) as error:
            raise self._ended() from error
        if isinstance(report, str):
            raise StartupError(report)
        return report

    def _ended(self) -> StartupError:
        self.process.join()
        status = self.process.exitcode
        return StartupError(f"a process ended with status {status}; what is finished is kept: run it again to go on")


@contextmanager
def _workers(work: Work, count: int) -> Iterator[list[_Worker]]:
    """So many processes; at the end they may finish what they are at, after an exception they are killed."""
    context = multiprocessing.get_context("spawn")
    workers: list[_Worker] = []
    try:
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=compute_shards, args=(work, theirs), daemon=True)
            workers.append(_Worker(process, ours))
            process.start()
            theirs.close()
        yield workers
    except BaseException:
        for worker in workers:
            worker.process.kill()
        raise
    finally:
        for worker in workers:
            worker.link.close()
            worker.process.join()


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Signals that ask to stop, as they come; a second one interrupts at once."""
    signals: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        signals.append(number)
        if len(signals) > 1:
            raise KeyboardInterrupt
        sys.stderr.write("\nemo-serve: finishing the shards that were begun; once more to end at once\n")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
