"""``emo-serve batch``: a model answers about many files, in all cores, into shards that are whole or absent."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict

from emo_serve.engine.host import usable_cores
from emo_serve.engine.repository.artefacts import Artefact
from emo_serve.errors import InvalidParameter
from emo_serve.offline.backlog import Backlog
from emo_serve.offline.formats import writer_for
from emo_serve.offline.job import Job, JobOutput, inputs_digest
from emo_serve.offline.local_engine import compute_in_processes
from emo_serve.offline.output import output_at
from emo_serve.offline.parameters import parameters_of
from emo_serve.offline.predictor import find_artefact
from emo_serve.offline.shards import Work
from emo_serve.offline.sources import STANDARD_INPUT, Source, find_sources
from emo_serve.process.exit_codes import EXIT_FAILED_INPUTS, EXIT_INTERRUPTED, EXIT_OK, EXIT_STARTUP, EXIT_USAGE
from emo_serve.settings import Settings
from emo_serve.vision.results import Parameters

_MOST_IN_A_SHARD = 1_000_000  # whose rows are in memory at once
_MOST_PROCESSES = 10_000  # of a cluster


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
        writer_for(options.format, artefact.manifest.task, artefact.labels)  # says now what does not fit
    except InvalidParameter as error:
        sys.stderr.write(f"emo-serve: {error}\n")
        return EXIT_USAGE
    try:
        sources = list(find_sources(options.inputs))
    except ValueError as error:  # of a list
        sys.stderr.write(f"emo-serve: {error}\n")
        return EXIT_STARTUP
    output = output_at(options.out)
    job = JobOutput(output, _job(options, artefact, parameters, sources))
    folder = artefact.model_path.parent.absolute()
    work = Work(folder, artefact.digest, settings, parameters, options.format, output)
    with output.locked():
        job.begin()
        most = options.max_failure_rate
        failed = job.failures() if most < 1 else 0  # who sets no limit need not wait for it
        return _compute(work, Backlog(job.missing(sources), len(sources), failed, most), options)


def _complaint(options: argparse.Namespace) -> str | None:
    if not 1 <= options.shard_size <= _MOST_IN_A_SHARD:
        return f"--shard-size {options.shard_size}: allowed are 1 to {_MOST_IN_A_SHARD}"
    if options.processes is not None and not 1 <= options.processes <= _MOST_PROCESSES:
        return f"--processes {options.processes}: allowed are 1 to {_MOST_PROCESSES}"
    if not 0 <= options.max_failure_rate <= 1:
        return f"--max-failure-rate {options.max_failure_rate}: allowed is 0 to 1"
    if STANDARD_INPUT in options.inputs:
        return "-: standard input cannot be read again to resume; write it into a file, or use predict"
    return None


def _job(options: argparse.Namespace, artefact: Artefact, parameters: Parameters, sources: Sequence[Source]) -> Job:
    return Job(
        model=artefact.manifest.name,
        version=artefact.manifest.version,
        model_digest=artefact.digest,
        parameters=asdict(parameters),
        format=options.format,
        shard_size=options.shard_size,
        inputs=len(sources),
        inputs_sha256=inputs_digest(sources),
    )


def _compute(work: Work, backlog: Backlog, options: argparse.Namespace) -> int:
    if backlog.too_many_failed:
        pass  # an earlier run found that
    elif options.engine == "ray":
        from emo_serve.offline.ray_engine import compute_on_ray  # noqa: PLC0415  # an extra

        compute_on_ray(work, backlog, options.processes)
    else:
        with backlog.stopped_by_signals():
            compute_in_processes(work, backlog, min(options.processes or usable_cores(), len(backlog)))
    if backlog.too_many_failed:
        rate = f"{backlog.failure_rate:.1%} of the pictures failed, those of earlier runs included"
        sys.stderr.write(f"emo-serve: {rate}; --max-failure-rate is {options.max_failure_rate}\n")
        return EXIT_FAILED_INPUTS
    return EXIT_INTERRUPTED if backlog else EXIT_OK
