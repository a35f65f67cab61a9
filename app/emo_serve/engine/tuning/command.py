"""``emo-serve tune``: measure how the models run best here, print it, and remember it for the next start."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from emo_serve.engine.repository.artefacts import Artefact, scan
from emo_serve.engine.tuning.runner import START_SECONDS, Tuner
from emo_serve.engine.tuning.search import RunConfig, SearchSpace, Tuning, row_of
from emo_serve.settings import Settings

_COLUMNS = {  # key in a row, and heading
    "instances": "instances",
    "intra_op_threads": "threads",
    "batch_size": "batch",
    "ms_per_run": "ms/run",
    "images_per_second": "images/s",
}


@dataclass(frozen=True, slots=True)
class Report:
    """Result for one model; ``quick`` is the choice of a quick start, if all settings were measured."""

    artefact: Artefact
    space: SearchSpace
    tuning: Tuning
    quick: RunConfig | None

    @property
    def quick_share(self) -> float | None:
        """Throughput of the quick choice as a share of the best choice's, both from the full table."""
        if self.quick is None:
            return None
        table = self.tuning.table
        best = max(row.images_per_second for row in table if row.setting.max_batch_size in self.space.batch_sizes())
        return row_of(table, self.quick, self.space).images_per_second / best

    def text(self) -> Iterator[str]:
        """Lines of readable text: the table with the choice marked, and the choice in words."""
        manifest, space = self.artefact.manifest, self.space
        yield f"{manifest.name} {manifest.version}, {space.cores} cores, for {space.goal}:"
        yield "    " + "".join(f"{heading:>11}" for heading in _COLUMNS.values())
        chosen = row_of(self.tuning.table, self.tuning.setting, space)
        for row in sorted(self.tuning.table, key=lambda row: row.setting):
            cells = row.described()
            yield ("  * " if row == chosen else "    ") + "".join(f"{cells[column]:>11}" for column in _COLUMNS)
        yield f"  chosen: {_words(self.tuning.setting)}"
        if self.quick is not None:
            yield f"  at start: {_words(self.quick)}, {self.quick_share:.1%} of the best"

    def json(self) -> dict[str, object]:
        """The report as a JSON object."""
        return {
            "model": self.artefact.manifest.name,
            "version": self.artefact.manifest.version,
            "goal": self.space.goal,
            "cores": self.space.cores,
            "choice": asdict(self.tuning.setting),
            "quick_choice": self.quick and asdict(self.quick),
            "quick_share_of_best": self.quick_share,
            "batch_seconds": dict(self.tuning.batch_seconds),
            "table": [row.described() for row in self.tuning.table],
        }


def tune(settings: Settings, *, full: bool, as_json: bool) -> int:
    """Measure every model of the repository; the exit code is 1 if there is none, or one cannot be measured."""
    found = scan(settings.models, settings.require_signature)
    for path, error in found.failures.items():
        sys.stderr.write(f"emo-serve: {path}: {error}\n")
    exit_code = 1 if found.failures else 0
    tuner = Tuner(settings, len(found.artefacts))
    reports = []
    for artefact in found.artefacts:
        try:
            report = _measured(tuner, artefact, START_SECONDS / len(found.artefacts), full=full)
        except Exception as error:  # noqa: BLE001  # a fault of one model must not stop the others
            sys.stderr.write(f"emo-serve: {artefact.model_path}: cannot be measured: {error}\n")
            exit_code = 1
            continue
        reports.append(report)
        if not as_json:
            sys.stdout.write("\n".join(report.text()) + "\n")
            sys.stdout.flush()
    if as_json:
        sys.stdout.write(json.dumps([report.json() for report in reports], indent=2) + "\n")
    return exit_code


def _measured(tuner: Tuner, artefact: Artefact, seconds: float, *, full: bool) -> Report:
    tuning = tuner.measure(artefact, seconds)
    if not full:
        return Report(artefact, tuner.space, tuning, None)
    return Report(artefact, tuner.space, tuner.sweep(artefact, _Progress(artefact.manifest.name)), tuning.setting)


class _Progress:
    """Progress of a sweep on standard error: one line that is overwritten, or one each tenth if not a terminal."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._watched = sys.stderr.isatty()

    def __call__(self, done: int, total: int) -> None:
        if self._watched:
            sys.stderr.write(f"\r{self._name}: {done} of {total} bursts" + ("\n" if done == total else ""))
        elif done == total or done % max(1, total // 10) == 0:
            sys.stderr.write(f"{self._name}: {done} of {total} bursts\n")
        sys.stderr.flush()


def _words(setting: RunConfig) -> str:
    return (
        f"EMO_BATCHING__INSTANCES={setting.instances} EMO_SESSION__INTRA_OP_THREADS={setting.intra_op_threads} "
        f"EMO_BATCHING__MAX_BATCH_SIZE={setting.max_batch_size}"
    )
