"""Measures, or remembers, how each model runs best on this machine, before it is served."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from emo_serve.engine.execution.session import RUNTIME_VERSION, OpenSession, Session, open_session
from emo_serve.engine.host import Machine, this_machine
from emo_serve.engine.repository.artefacts import Artefact
from emo_serve.engine.tuning.cache import CacheKey, TuningCache
from emo_serve.engine.tuning.search import RunConfig, SearchSpace, Tuning, choose, search, sweep
from emo_serve.settings import Settings

logger = logging.getLogger(__name__)

START_SECONDS = 5.0
"""Time limit for measuring all models together at start."""

_BURST_SECONDS = 0.05
_LONG_BURST_SECONDS = 0.3


class Tuner:
    """Finds the best run config for each model of a repository."""

    def __init__(
        self,
        settings: Settings,
        models: int,
        open_session: OpenSession = open_session,
        machine: Machine | None = None,
    ) -> None:
        """Share ``START_SECONDS`` among this many models."""
        self._settings = settings
        self._models = models
        self._open_session = open_session
        self._machine = machine or this_machine()
        self.space = SearchSpace.of(settings, self._machine.cores)
        self._cache = TuningCache(settings.cache_dir)
        self._seconds = START_SECONDS

    def tune(self, artefact: Artefact) -> Tuning:
        """The remembered tuning, else a new measurement in this model's share of the remaining time; never fails.

        The fault of a model that cannot be run is left to its self-test to report.
        """
        if not self._settings.tune:
            return Tuning(self.space.untuned())
        started = time.perf_counter()
        remembered = self._cache.load(self._cache_key(artefact))
        try:
            tuning = remembered or self.measure(artefact, self._seconds / max(1, self._models))
        except Exception as error:  # noqa: BLE001  # loading the model will meet the error again
            logger.warning("not tuned", extra={"model": artefact.manifest.name, "reason": str(error)})
            return Tuning(self.space.untuned())
        seconds = time.perf_counter() - started
        self._models -= 1
        self._seconds = max(0.0, self._seconds - seconds)
        self._log(artefact, tuning, seconds, is_remembered=remembered is not None)
        return tuning

    def recall(self, artefact: Artefact, other: Tuning | None) -> Tuning:
        """The remembered tuning, else ``other``, that of another version: nothing can be measured under load."""
        remembered = self._cache.load(self._cache_key(artefact)) if self._settings.tune else None
        tuning = remembered or other or Tuning(self.space.untuned())
        if self._settings.tune:
            self._log(artefact, tuning, 0.0, is_remembered=remembered is not None)
        return tuning

    def measure(self, artefact: Artefact, seconds: float) -> Tuning:
        """Measure promising configs for this many seconds, and remember the result; raises the model's errors."""
        bursts = ThroughputProbe(artefact, self._settings, self._open_session, _BURST_SECONDS)
        table = search(self.space, bursts, seconds)
        return self._remember(artefact, Tuning(choose(table, self.space), table))

    def sweep(self, artefact: Artefact, progress: Callable[[int, int], None]) -> Tuning:
        """Measure every config at length, and remember the result; raises the model's errors."""
        bursts = ThroughputProbe(artefact, self._settings, self._open_session, _LONG_BURST_SECONDS)
        table = sweep(self.space, bursts, progress)
        return self._remember(artefact, Tuning(choose(table, self.space), table))

    def _remember(self, artefact: Artefact, tuning: Tuning) -> Tuning:
        self._cache.store(self._cache_key(artefact), tuning)
        return tuning

    def _cache_key(self, artefact: Artefact) -> CacheKey:
        digest = artefact.manifest.sha256[artefact.model_path.name]
        return CacheKey(digest, f"onnxruntime {RUNTIME_VERSION}", self._machine, self.space)

    def _log(self, artefact: Artefact, tuning: Tuning, seconds: float, *, is_remembered: bool) -> None:
        logger.info(
            "tuned",
            extra={
                "model": artefact.manifest.name,
                "version": artefact.manifest.version,
                "goal": self.space.goal,
                "cores": self.space.cores,
                "instances": tuning.setting.instances,
                "intra_op_threads": tuning.setting.intra_op_threads,
                "max_batch_size": tuning.setting.max_batch_size,
                "remembered": is_remembered,
                "seconds": round(seconds, 3),
                "table": [row.described() for row in tuning.table],
            },
        )


class ThroughputProbe:
    """A ``Measure`` of a real model: callers in threads of their own run full batches for a moment."""

    def __init__(self, artefact: Artefact, settings: Settings, open_session: OpenSession, seconds: float) -> None:
        """Measure for this many seconds at a time, or one run if that takes longer."""
        self._artefact = artefact
        self._settings = settings
        self._open_session = open_session
        self._seconds = seconds
        self._sessions: dict[int, Session] = {}  # by intra-op threads; freed with this object
        self._warm: set[RunConfig] = set()

    def __call__(self, setting: RunConfig, callers: int) -> float:
        """Seconds of one run of a full batch; a config's first runs, which allocate memory, are not counted."""
        session = self._session(setting)
        batch = self._batch(setting.max_batch_size)
        with ThreadPoolExecutor(callers) as threads:
            if setting not in self._warm:
                list(threads.map(session.run, [batch] * callers))
                self._warm.add(setting)
            rates = list(threads.map(lambda _: _runs_per_second(session, batch, self._seconds), range(callers)))
        return callers / sum(rates)

    def _session(self, setting: RunConfig) -> Session:
        threads = setting.intra_op_threads
        if threads not in self._sessions:
            self._sessions[threads] = self._open_session(self._artefact, setting.applied_to(self._settings))
        return self._sessions[threads]

    def _batch(self, size: int) -> NDArray[np.uint8]:
        shape = (size, *self._artefact.manifest.input.shape[1:])  # (N, H, W, 3)
        return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def _runs_per_second(session: Session, batch: NDArray[np.uint8], seconds: float) -> float:
    runs = 0
    started = now = time.perf_counter()
    while not runs or now - started < seconds:
        session.run(batch)
        runs += 1
        now = time.perf_counter()
    return runs / (now - started)
