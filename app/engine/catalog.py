"""The set of deployments: which model answers, what failed, and whether the process is alive and ready.

A broken model never keeps the others from serving. It is listed under ``failures``, and the process is not ready while
that failure leaves a configured default, or a whole task, without a model.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from app.engine.cpus import usable_cores
from app.engine.deployment import Deployment, OpenSession, open_session
from app.engine.repository import Artefact, scan
from app.engine.tuner import Tuner
from app.engine.workers import PixelWorkers
from app.errors import ModelNotFound, ModelNotReady
from app.manifest import Task
from app.metrics import Metrics
from app.settings import Settings

logger = logging.getLogger(__name__)

_LOADING_RETRY_SECONDS = 1.0
_EXPECTED: frozenset[Task] = frozenset({"classify", "detect"})  # a broken folder may have held a model for these
_SHOWN = 64  # characters of a name that are repeated to the client


class Catalog:
    """All models of the repository; made and used on one event loop."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        on_death: Callable[[], None] = lambda: None,
        open_session: OpenSession = open_session,
    ) -> None:
        """An empty catalog, not ready before ``start``; ``on_death`` is called when a watched task ends unasked."""
        self._settings = settings
        self._metrics = metrics
        self._on_death = on_death
        self._open_session = open_session
        self._workers = PixelWorkers(settings.decode_threads or usable_cores())
        self._configured_defaults = {
            "classify": settings.default_classify_model,
            "detect": settings.default_detect_model,
            "segment": settings.default_segment_model,
        }
        self._deployments: dict[str, dict[str, Deployment]] = {}  # name -> version -> deployment
        self._found: dict[Task, set[str]] = {"classify": set(), "detect": set(), "segment": set()}  # working or not
        self._failures: dict[str, str] = {}
        self._state: Literal["loading", "started", "closed"] = "loading"
        self._alive = True
        self._lag_meter = asyncio.get_running_loop().create_task(metrics.measure_event_loop_lag(), name="lag meter")
        self._lag_meter.add_done_callback(self._lag_meter_ended)

    async def start(self) -> None:
        """Load every model of the repository, one after the other, in a thread; a broken one is kept as a failure."""
        found = await asyncio.to_thread(scan, self._settings.models)
        for path, error in found.failures.items():
            self._fail(path, error)
        tuner = Tuner(self._settings, len(found.artefacts), self._open_session)
        for artefact in found.artefacts:
            await self._deploy(artefact, tuner)
        self._state = "started"
        for obstacle in self.obstacles():
            logger.error("not ready", extra={"reason": obstacle})

    async def _deploy(self, artefact: Artefact, tuner: Tuner) -> None:
        manifest = artefact.manifest
        self._found[manifest.task].add(manifest.name)
        try:
            tuning = await asyncio.to_thread(tuner.tune, artefact)
            deployment = await Deployment.start(
                artefact,
                tuning.setting.applied_to(self._settings),
                self._metrics,
                self._workers,
                self._died,
                self._open_session,
                tuning.batch_seconds,
            )
        except Exception as error:  # noqa: BLE001  # whatever is wrong with one model, the others shall serve
            self._fail(artefact.model_path.parent, error)
            return
        self._deployments.setdefault(manifest.name, {})[manifest.version] = deployment
        logger.info("serving", extra={"model": manifest.name, "version": manifest.version, "task": manifest.task})

    def _fail(self, path: Path, error: Exception) -> None:
        logger.error("a model cannot be served", extra={"path": str(path)}, exc_info=error)
        root = self._settings.models  # its place in the file system is nothing for clients
        reason = str(error).replace(f"{root}{os.sep}", "").replace(str(root), root.name)
        self._failures[path.relative_to(root).as_posix()] = reason

    # ---- asking ----------------------------------------------------------------------------------------------------

    def get(self, task: Task, name: str | None = None, version: str | None = None) -> Deployment:
        """The deployment that answers: the task's default where no name, the highest where no version is given.

        Raises ModelNotFound, which says what there is, or ModelNotReady.
        """
        if self._state == "loading":
            msg = "The models are still being loaded."
            raise ModelNotReady(msg, _LOADING_RETRY_SECONDS)
        wanted = name or self.default(task)
        if wanted is None:
            msg = f"No model serves {task}."
            raise ModelNotFound(msg)
        versions = self.versions(wanted, task)
        if not versions and wanted in self._found[task]:
            msg = f"Model {wanted!r} could not be started; the list of models says why."
            raise ModelNotReady(msg)
        if not versions:
            msg = f"There is no model {wanted!r} for {task}; there are: {', '.join(self._names(task)) or 'none'}."
            raise ModelNotFound(msg)
        return _pick(wanted, versions, version)

    def find(self, name: str, version: str | None = None) -> Deployment:
        """The deployment of this name, whatever its task, the highest where no version is given.

        Raises ModelNotFound, which says what there is.
        """
        versions = self.versions(name)
        if not versions:
            msg = f"There is no model {name[:_SHOWN]!r}; there are: {', '.join(self._deployments)}."
            raise ModelNotFound(msg)
        return _pick(name, versions, version)

    def versions(self, name: str, task: Task | None = None) -> dict[str, Deployment]:
        """The deployments of this name by version, the highest last; of one task or of all."""
        own = self._deployments.get(name, {})
        return {version: own[version] for version in sorted(own, key=int) if task in (None, own[version].manifest.task)}

    def is_default(self, deployment: Deployment) -> bool:
        """Whether it answers for its task where neither a model nor a version is named."""
        name, task = deployment.manifest.name, deployment.manifest.task
        return name == self.default(task) and deployment is _pick(name, self.versions(name, task), None)

    def _names(self, task: Task) -> list[str]:
        return [name for name in sorted(self._deployments) if self.versions(name, task)]

    def all(self) -> tuple[Deployment, ...]:
        """Every deployment, by name, then version."""
        return tuple(deployment for name in sorted(self._deployments) for deployment in self.versions(name).values())

    def default(self, task: Task) -> str | None:
        """The name of the model that answers when none is asked for: the setting, else the first by name.

        The first of all that were found, so that a broken model is not silently replaced by another.
        """
        return self._configured_defaults[task] or min(self._found[task], default=None)

    @property
    def failures(self) -> dict[str, str]:
        """What could not be served: the path inside the repository -> why."""
        return dict(self._failures)

    # ---- states ----------------------------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether every task that has to run does; once False it stays so."""
        return self._alive

    @property
    def ready(self) -> bool:
        """Whether clients may be sent here."""
        return not self.obstacles()

    def obstacles(self) -> list[str]:
        """Why the process is not ready; empty when it is."""
        if self._state == "loading":
            return ["the models are still being loaded"]
        if self._state == "closed":
            return ["shutting down"]
        obstacles = [] if self._alive else ["a batcher died"]
        if not self._deployments:
            obstacles.append("no model is served")
        for task in self._found:
            served = self._names(task)
            default = self.default(task)
            if default is not None and default not in served:
                obstacles.append(f"the default model for {task}, {default!r}, is not served")
            elif not served and self._failures and task in _EXPECTED:
                obstacles.append(f"no model serves {task}, and there are failures: {', '.join(self._failures)}")
        return obstacles

    def _lag_meter_ended(self, task: asyncio.Task[None]) -> None:
        if self._state != "closed":
            logger.critical("the lag meter died", exc_info=None if task.cancelled() else task.exception())
            self._died()

    def _died(self) -> None:
        if self._alive:
            self._alive = False
            self._on_death()

    async def close(self) -> None:
        """Drain and end all deployments at the same time, within ``drain_seconds``."""
        self._state = "closed"
        await asyncio.gather(*(deployment.close() for deployment in self.all()))
        self._lag_meter.cancel()
        self._workers.close()


def _pick(name: str, versions: dict[str, Deployment], version: str | None) -> Deployment:
    """The version that is asked for, else the last."""
    if version is None:
        return list(versions.values())[-1]
    if version not in versions:
        msg = f"Model {name!r} has no version {version!r}; there are: {', '.join(versions)}."
        raise ModelNotFound(msg)
    return versions[version]
