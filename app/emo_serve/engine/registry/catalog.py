"""The set of deployments: which of them answers, and whether the process is alive and ready.

A broken model never keeps the others from serving. It is listed under ``failures``, and the process is not ready while
that failure leaves a configured default, or a whole task, without a model.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Literal

from emo_serve.defaults import DEFAULTS_FILE
from emo_serve.engine.execution.pixel_threads import PixelWorkers
from emo_serve.engine.host.cpus import usable_cores
from emo_serve.engine.registry.deployment import Deployment, OpenSession, open_session
from emo_serve.engine.registry.preflight import Preflight
from emo_serve.engine.registry.reconciler import Rollout
from emo_serve.engine.registry.watcher import watch
from emo_serve.engine.repository.serving_config import DEFAULT
from emo_serve.engine.scheduling.retry_sync import Bookings
from emo_serve.errors import ModelNotFound, ModelNotReady
from emo_serve.manifest import Task, known_as
from emo_serve.metrics.definitions import Metrics
from emo_serve.settings import Settings

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
        bookings: Bookings | None = None,
        preflight: Preflight | None = None,
    ) -> None:
        """An empty catalog, not ready before ``start``; ``on_death`` is called when a watched task ends unasked.

        ``bookings`` are those of several workers; by the ``preflight`` versions are tried before they are served.
        """
        self._settings = settings
        self._on_death = on_death
        self._workers = PixelWorkers(settings.decode_threads or usable_cores())
        self._configured_defaults = {
            "classify": settings.default_classify_model,
            "detect": settings.default_detect_model,
            "segment": settings.default_segment_model,
        }
        self._rollout = Rollout(settings, metrics, self._workers, self._died, open_session, bookings, preflight)
        self._state: Literal["loading", "started", "closed"] = "loading"
        self._alive = True
        self._tasks: list[asyncio.Task[None]] = []
        self._start(metrics.measure_event_loop_lag(), "lag meter")

    def _start(self, work: Coroutine[None, None, None], name: str) -> None:
        """Start a task that is never to end."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        task.add_done_callback(self._task_ended)
        self._tasks.append(task)

    async def start(self) -> None:
        """Load every model of the repository, one after the other, in a thread; a broken one is kept as a failure."""
        await self._rollout.follow()
        self._state = "started"
        for obstacle in self.obstacles():
            logger.error("not ready", extra={"reason": obstacle})
        if self._settings.watch_seconds is not None:
            self._start(watch(self._settings.models, self._settings.watch_seconds, self._rollout), "watcher")

    async def follow(self) -> None:
        """Serve what the repository holds now; what could not be loaded before is tried again."""
        await self._rollout.follow()

    # ---- asking ----------------------------------------------------------------------------------------------------

    def get(self, task: Task, name: str | None = None, version: str | None = None) -> Deployment:
        """The deployment that answers: the task's default where no name, the model's where no version is given.

        A version is a number or an alias; the default is what the alias ``default`` names, else the highest.

        Raises ModelNotFound, which says what there is, or ModelNotReady.
        """
        if self._state == "loading":
            msg = "The models are still being loaded."
            raise ModelNotReady(msg, _LOADING_RETRY_SECONDS)
        wanted = self._known(name) if name else self.default(task)
        if wanted is None:
            raise self._no_default(task)
        versions = self.versions(wanted, task)
        if not versions:
            raise self._not_served(task, wanted, is_default=not name)
        return self._pick(wanted, versions, version)

    def find(self, name: str, version: str | None = None) -> Deployment:
        """The deployment of this name, whatever its task, its default where no version is given.

        Raises ModelNotFound, which says what there is.
        """
        name = self._known(name)
        versions = self.versions(name)
        if not versions:
            msg = f"There is no model {name[:_SHOWN]!r}; there are: {', '.join(self._rollout.deployments)}."
            raise ModelNotFound(msg)
        return self._pick(name, versions, version)

    def versions(self, name: str, task: Task | None = None) -> dict[str, Deployment]:
        """The deployments of this name by version, the highest last; of one task or of all."""
        own = self._rollout.deployments.get(name, {})
        return {version: own[version] for version in sorted(own, key=int) if task in (None, own[version].manifest.task)}

    def aliases(self, deployment: Deployment) -> list[str]:
        """The aliases that name it."""
        named = self._rollout.aliases.get(deployment.manifest.name, {})
        return sorted(alias for alias, version in named.items() if version == deployment.manifest.version)

    def is_default(self, deployment: Deployment) -> bool:
        """Whether it answers for its task where neither a model nor a version is named."""
        name, task = deployment.manifest.name, deployment.manifest.task
        return name == self.default(task) and deployment is self._version(name, self.versions(name, task), DEFAULT)

    def _known(self, name: str) -> str:
        """The name as the repository writes it."""
        return name if name in self._rollout.deployments else known_as(name, self._rollout.known)

    def _no_default(self, task: Task) -> ModelNotFound | ModelNotReady:
        """Why no model answers for the task where none is named."""
        if self._rollout.defaults.are_unknown:
            return ModelNotReady(f"The default model for {task} is not known; the list of models says why.")
        names = sorted(self._rollout.found[task])
        if not names:
            return ModelNotFound(f"No model serves {task}.")
        several = ", ".join(names)
        return ModelNotFound(f"Several models serve {task} and none is the default: name one of {several} as model.")

    def _not_served(self, task: Task, name: str, *, is_default: bool) -> ModelNotFound | ModelNotReady:
        if name in self._rollout.found[task]:
            return ModelNotReady(f"Model {name!r} could not be started; the list of models says why.")
        there_are = f"there are: {', '.join(self._names(task)) or 'none'}."
        if is_default:
            return ModelNotReady(f"{name!r}, the default for {task}, is not served; {there_are}")
        return ModelNotFound(f"There is no model {name!r} for {task}; {there_are}")

    def _pick(self, name: str, versions: Mapping[str, Deployment], version: str | None) -> Deployment:
        """The version or alias that is asked for, else the default; raises ModelNotFound or ModelNotReady."""
        picked = self._version(name, versions, version or DEFAULT)
        if picked is not None:
            return picked
        aliases = self._rollout.aliases.get(name, {})
        if version in (None, *aliases):
            msg = f"Version {aliases[version or DEFAULT]} of model {name!r}, which should answer, is not served."
            raise ModelNotReady(msg)
        msg = f"Model {name!r} has no version {version!r}; there are: {', '.join((*versions, *sorted(aliases)))}."
        raise ModelNotFound(msg)

    def _version(self, name: str, versions: Mapping[str, Deployment], version: str) -> Deployment | None:
        aliases = self._rollout.aliases.get(name, {})
        if version == DEFAULT and version not in aliases:
            return versions[max(versions, key=int)] if versions else None
        return versions.get(aliases.get(version, version))

    def _names(self, task: Task) -> list[str]:
        return [name for name in sorted(self._rollout.deployments) if self.versions(name, task)]

    def all(self) -> tuple[Deployment, ...]:
        """Every deployment, by name, then version."""
        return tuple(
            deployment for name in sorted(self._rollout.deployments) for deployment in self.versions(name).values()
        )

    def default(self, task: Task) -> str | None:
        """The name of the model that answers when none is asked for: the setting, else what the repository says.

        Working or not, so that a broken model is not silently replaced by another. None where nothing chooses.
        """
        configured = self._configured_defaults[task]
        return self._known(configured) if configured else self._rollout.defaults.names.get(task)

    @property
    def failures(self) -> dict[str, str]:
        """What could not be served: the path inside the repository -> why."""
        return dict(self._rollout.failures)

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
        if not self._rollout.deployments:
            obstacles.append("no model is served")
        if self._rollout.defaults.are_unknown:
            obstacles.append(f"{DEFAULTS_FILE} cannot be read")
        for task in self._rollout.found:
            served = self._names(task)
            default = self.default(task)
            if default is not None and self._version(default, self.versions(default, task), DEFAULT) is None:
                obstacles.append(f"the default model for {task}, {default!r}, is not served")
            elif not served and self._rollout.missing and task in _EXPECTED:
                obstacles.append(
                    f"no model serves {task}, and there are failures: {', '.join(sorted(self._rollout.missing))}"
                )
        return obstacles

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if self._state != "closed":
            failure = None if task.cancelled() else task.exception()
            logger.critical("a task died", extra={"task": task.get_name()}, exc_info=failure)
            self._died()

    def _died(self) -> None:
        if self._alive:
            self._alive = False
            self._on_death()

    async def close(self) -> None:
        """Drain and end all deployments at the same time, within ``drain_seconds``."""
        self._state = "closed"
        for task in self._tasks:
            task.cancel()
        await self._rollout.close()
        self._workers.close()
