"""Measures, or remembers, how each model runs best on this machine, before it is served."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from emo_serve.engine.execution.session import RUNTIME_VERSION, Session
from emo_serve.engine.host.cpus import Machine, this_machine
from emo_serve.engine.registry.deployment import OpenSession, open_session
from emo_serve.engine.repository.artefacts import Artefact
from emo_serve.engine.tuning.cache import Circumstances, TuningCache
from emo_serve.engine.tuning.search import Setting, Space, Tuning, choose, search, sweep
from emo_serve.settings import Settings

logger = logging.getLogger(__name__)

START_SECONDS = 5.0
"""What all models together may take to be measured at start."""

_BURST_SECONDS = 0.05
_LONG_BURST_SECONDS = 0.3


class Tuner:
    """Finds the setting of each model of a repository."""

    def __init__(
        self,
        settings: Settings,
        models: int,
        open_session: OpenSession = open_session,
        machine: Machine | None = None,
    ) -> None:
        """Share ``START_SECONDS`` among so many models."""
        self._settings = settings
        self._models = models
        self._open_session = open_session
        self._machine = machine or this_machine()
        self.space = Space.of(settings, self._machine.cores)
        self._cache = TuningCache(settings.cache_dir)
        self._seconds = START_SECONDS

    def tune(self, artefact: Artefact) -> Tuning:
        """What is remembered, else measured now, in this model's share of the time that is left; it never fails.

        A model that cannot be run is left to its self-test, which says what is wrong.
        """
        if not self._settings.tune:
            return Tuning(self.space.untuned())
        started = time.perf_counter()
        remembered = self._cache.load(self._circumstances(artefact))
        try:
            tuning = remembered or self.measure(artefact, self._seconds / max(1, self._models))
        except Exception as error:  # noqa: BLE001  # whatever it is, loading the model will meet it again
            logger.warning("not tuned", extra={"model": artefact.manifest.name, "reason": str(error)})
            return Tuning(self.space.untuned())
        seconds = time.perf_counter() - started
        self._models -= 1
        self._seconds = max(0.0, self._seconds - seconds)
        self._log(artefact, tuning, seconds, is_remembered=remembered is not None)
        return tuning

    def recall(self, artefact: Artefact, other: Tuning | None) -> Tuning:
        """What is remembered, else ``other``, that of another version: while requests come nothing can be measured."""
        remembered = self._cache.load(self._circumstances(artefact)) if self._settings.tune else None
        tuning = remembered or other or Tuning(self.space.untuned())
        if self._settings.tune:
            self._log(artefact, tuning, 0.0, is_remembered=remembered is not None)
        return tuning

    def measure(self, artefact: Artefact, seconds: float) -> Tuning:
        """Measure what is promising within so many seconds, and remember it; raises whatever the model raises."""
        bursts = Bursts(artefact, self._settings, self._open_session, _BURST_SECONDS)
        table = search(self.space, bursts, seconds)
        return self._remember(artefact, Tuning(choose(table, self.space), table))

    def sweep(self, artefact: Artefact, progress: Callable[[int, int], None]) -> Tuning:
        """Measure every setting at length, and remember it; raises whatever the model raises."""
        bursts = Bursts(artefact, self._settings, self._open_session, _LONG_BURST_SECONDS)
        table = sweep(self.space, bursts, progress)
        return self._remember(artefact, Tuning(choose(table, self.space), table))

    def _remember(self, artefact: Artefact, tuning: Tuning) -> Tuning:
        self._cache.store(self._circumstances(artefact), tuning)
        return tuning

    def _circumstances(self, artefact: Artefact) -> Circumstances:
        digest = artefact.manifest.sha256[artefact.model_path.name]
        return Circumstances(digest, f"onnxruntime {RUNTIME_VERSION}", self._machine, self.space)

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


class Bursts:
    """A ``Measure`` of a real model: callers in threads of their own run full batches for a moment."""

    def __init__(self, artefact: Artefact, settings: Settings, open_session: OpenSession, seconds: float) -> None:
        """Let each burst take so long, or one run where that is longer."""
        self._artefact = artefact
        self._settings = settings
        self._open_session = open_session
        self._seconds = seconds
        self._sessions: dict[int, Session] = {}  # by intra-op threads; gone with this object, and their memory too
        self._warm: set[Setting] = set()

    def __call__(self, setting: Setting, callers: int) -> float:
        """Seconds of one run of a full batch; a setting's first runs, which take memory, are not counted."""
        session = self._session(setting)
        batch = self._batch(setting.max_batch_size)
        with ThreadPoolExecutor(callers) as threads:
            if setting not in self._warm:
                list(threads.map(session.run, [batch] * callers))
                self._warm.add(setting)
            rates = list(threads.map(lambda _: _runs_per_second(session, batch, self._seconds), range(callers)))
        return callers / sum(rates)

    def _session(self, setting: Setting) -> Session:
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
