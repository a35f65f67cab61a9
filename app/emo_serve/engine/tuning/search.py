"""How a model runs best on a machine: which settings there are, which are worth measuring, which one to take.

A setting is instances x intra-op threads x batch size; instances x threads never exceed the cores, which decoding
shares. On a GPU threads are of no use, and of two instances one copies its images while the other computes. Nothing
here knows ONNX Runtime or the wall clock: what a setting costs comes from a ``Measure``.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from pydantic import PositiveFloat, PositiveInt

from emo_serve.settings import DEFAULT_INTRA_OP_THREADS, DEFAULT_MAX_BATCH_SIZE, Provider, Settings, TuneGoal

_LARGEST_BATCH = 32
_UNTUNED_GPU_BATCH = 16  # where nothing was measured
_GPU_INSTANCES = 2
_SAME = 0.96  # of the best: not worth more memory, as it lies within what a short measurement can tell apart
_GROWN = 0.9  # of the best of smaller batches: larger ones will not pay either
_HOPELESS = 0.75  # of the best: not worth another look
_ROUNDS = 8


@dataclass(frozen=True, slots=True, order=True)
class Setting:
    """How a model is run: batches at the same time, threads inside one, images in the largest."""

    instances: PositiveInt
    intra_op_threads: PositiveInt
    max_batch_size: PositiveInt

    def applied_to(self, settings: Settings) -> Settings:
        """The settings with this one in the place of what is unset."""
        batching = {"instances": self.instances, "max_batch_size": self.max_batch_size}
        session = {"intra_op_threads": self.intra_op_threads}
        return settings.model_copy(
            update={
                "batching": settings.batching.model_copy(update=batching),
                "session": settings.session.model_copy(update=session),
            }
        )


@dataclass(frozen=True, slots=True)
class Measurement:
    """What full batches cost with so many callers at the same time."""

    setting: Setting
    callers: PositiveInt
    seconds: PositiveFloat  # of one run

    @property
    def images_per_second(self) -> float:
        """Of all callers together."""
        return self.callers * self.setting.max_batch_size / self.seconds

    def described(self) -> dict[str, float]:
        """The row of a table, for people and logs."""
        return {
            "instances": self.setting.instances,
            "intra_op_threads": self.setting.intra_op_threads,
            "batch_size": self.setting.max_batch_size,
            "ms_per_run": round(self.seconds * 1000, 3),
            "images_per_second": round(self.images_per_second, 1),
        }


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was measured, and the setting to use; the table is empty where nothing was measured."""

    setting: Setting
    table: tuple[Measurement, ...] = ()

    @property
    def batch_seconds(self) -> Mapping[int, float]:
        """Seconds of one run at the chosen setting by batch size, for the sizes that were measured."""
        rows = (row for row in self.table if _shape(row.setting) == _shape(self.setting))
        return {row.setting.max_batch_size: row.seconds for row in rows}


@dataclass(frozen=True, slots=True)
class Space:
    """All settings that are allowed: within the cores; None means that a number is free."""

    goal: TuneGoal
    cores: int
    instances: int | None
    intra_op_threads: int | None
    max_batch_size: int | None
    provider: Provider = "cpu"

    @classmethod
    def of(cls, settings: Settings, cores: int) -> "Space":
        """What the settings leave free."""
        batching, session = settings.batching, settings.session
        threads = session.intra_op_threads or (None if session.provider == "cpu" else DEFAULT_INTRA_OP_THREADS)
        return cls(settings.tune_goal, cores, batching.instances, threads, batching.max_batch_size, session.provider)

    def untuned(self) -> Setting:
        """The setting to use where nothing is measured."""
        threads = self.intra_op_threads or DEFAULT_INTRA_OP_THREADS
        batch = DEFAULT_MAX_BATCH_SIZE if self.provider == "cpu" else _UNTUNED_GPU_BATCH
        return Setting(self.instances or self._most_instances(1), threads, self.max_batch_size or batch)

    def shapes(self) -> list[tuple[int, int]]:
        """Instances x threads, those that use all cores first; for latency only those, as one caller measures."""
        shapes = []
        for threads in self._threads():
            several = [self.instances] if self.instances else _doubling(self._most_instances(threads))
            shapes += [(instances, threads) for instances in (several if self.goal == "throughput" else several[-1:])]
        return sorted(shapes, key=lambda shape: (-shape[0] * shape[1], shape[1]))

    def batch_sizes(self) -> list[int]:
        """The batch sizes to compare, the smallest first; for latency one image, as batches make the first one wait."""
        if self.goal == "latency":
            return [1]
        return [self.max_batch_size] if self.max_batch_size else _doubling(_LARGEST_BATCH)

    def callers(self, setting: Setting) -> int:
        """How many runs there are at the same time while the setting is measured."""
        return setting.instances if self.goal == "throughput" else 1

    def _most_instances(self, threads: int) -> int:
        most = max(1, self.cores // threads)
        return most if self.provider == "cpu" else _GPU_INSTANCES

    def _threads(self) -> list[int]:
        if self.intra_op_threads:
            return [self.intra_op_threads]
        return _doubling(max(1, self.cores // (self.instances or 1)))


Measure = Callable[[Setting, int], float]
"""Seconds of one run of a full batch, while so many callers run one each; shortly measured, so it may be off."""


def choose(table: Iterable[Measurement], space: Space) -> Setting:
    """The best setting for the goal; what is as good within 4 % is decided by the smaller batch, then fewer threads."""
    sizes = space.batch_sizes()
    rows = [row for row in table if row.setting.max_batch_size in sizes]
    good = max(row.images_per_second for row in rows) * _SAME
    best = min((row.setting for row in rows if row.images_per_second >= good), key=_appetite)
    return Setting(best.instances, best.intra_op_threads, space.max_batch_size or best.max_batch_size)


def row_of(table: Iterable[Measurement], setting: Setting, space: Space) -> Measurement:
    """The row by which a setting was, or would have been, chosen."""
    wanted = Setting(*_shape(setting), min(setting.max_batch_size, space.batch_sizes()[-1]))
    return next(row for row in table if row.setting == wanted)


def search(
    space: Space, measure: Measure, seconds: float, clock: Callable[[], float] = time.perf_counter
) -> tuple[Measurement, ...]:
    """Measure what is promising, each several times, within so many seconds, at least one setting."""
    trials = _Trials(space, measure, clock, clock() + seconds)
    first, *larger = space.batch_sizes()
    for shape in space.shapes() * 2:  # the rest of the server starts meanwhile: once may be bad luck
        trials.run(Setting(*shape, first))
    for row in trials.promising():
        trials.climb(row, larger)
    for _ in range(_ROUNDS - 1):
        for row in trials.promising():
            trials.run(row.setting)
    trials.complete(choose(trials.table(), space))
    return trials.table()


def sweep(space: Space, measure: Measure, progress: Callable[[int, int], None]) -> tuple[Measurement, ...]:
    """Measure every setting, all in turn, several times over; ``progress`` is told how many of how many are done."""
    settings = [Setting(*shape, size) for shape in space.shapes() for size in space.batch_sizes()]
    trials = _Trials(space, measure)
    for done in range(total := _ROUNDS * len(settings)):
        progress(done, total)
        trials.run(settings[done % len(settings)])
    trials.complete(choose(trials.table(), space))
    progress(total, total)
    return trials.table()


@dataclass(slots=True)
class _Trials:
    """What was measured up to now; measures no more when the next trial might not end in time."""

    space: Space
    measure: Measure
    clock: Callable[[], float] = time.perf_counter
    end: float = float("inf")
    samples: dict[Setting, list[float]] = field(default_factory=dict)
    _last_seconds: float = 0.0

    def run(self, setting: Setting) -> bool:
        """Measure the setting once, unless time is up; the very first trial is always made."""
        started = self.clock()
        if self.samples and started + 2 * self._last_seconds > self.end:  # twice, as the next batch may be twice as big
            return False
        self.samples.setdefault(setting, []).append(self.measure(setting, self.space.callers(setting)))
        self._last_seconds = self.clock() - started
        return True

    def promising(self) -> list[Measurement]:
        """The rows that may turn out to be the best, the best first, and that of the smallest batch of its shape.

        Against that one larger batches pay or not, and it is measured first, while the rest of the server starts.
        """
        rows = sorted(self.table(), key=lambda row: -row.images_per_second)
        smallest = replace(rows[0].setting, max_batch_size=self.space.batch_sizes()[0])
        enough = rows[0].images_per_second * _HOPELESS
        return [row for row in rows if row.images_per_second >= enough or row.setting == smallest]

    def climb(self, start: Measurement, sizes: Iterable[int]) -> None:
        """Measure larger and larger batches until one is much worse than the best, or two in a row are worse."""
        best, losses = start.images_per_second, 0
        for size in sizes:
            setting = replace(start.setting, max_batch_size=size)
            if not self.run(setting):
                return
            if self._row(setting).images_per_second < best * _GROWN:
                self.run(setting)  # again: it may only have been disturbed
            rate = self._row(setting).images_per_second
            losses = losses + 1 if rate < best else 0
            if losses == 2 or rate < best * _GROWN:
                return
            best = max(best, rate)

    def complete(self, chosen: Setting) -> None:
        """Measure the batch sizes up to the chosen one as often as that: batching wants to know what they cost."""
        sizes = [Setting(*_shape(chosen), size) for size in _doubling(chosen.max_batch_size)]
        for number in range(_ROUNDS):
            for setting in sizes:
                if len(self.samples.get(setting, ())) <= number:
                    self.run(setting)

    def table(self) -> tuple[Measurement, ...]:
        """The best of each setting's trials, as disturbances only make slower."""
        return tuple(self._row(setting) for setting in self.samples)

    def _row(self, setting: Setting) -> Measurement:
        return Measurement(setting, self.space.callers(setting), min(self.samples[setting]))


def _shape(setting: Setting) -> tuple[int, int]:
    return setting.instances, setting.intra_op_threads


def _appetite(setting: Setting) -> tuple[int, int, int]:
    """Less is better where two settings are equally good."""
    return setting.max_batch_size, setting.instances * setting.intra_op_threads, setting.intra_op_threads


def _doubling(last: int) -> list[int]:
    """1, 2, 4, ... and the last."""
    sizes = [1 << power for power in range(last.bit_length()) if 1 << power < last]
    return [*sizes, last]
