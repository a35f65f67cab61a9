"""Lookup of deployments: which one answers a request, and whether the process is alive and ready.

A broken model never keeps the others from serving. It is listed under ``failures``, and the process is not ready while
that failure leaves a configured default, or a whole task, without a model.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Literal

from emo_serve.defaults import DEFAULTS_FILE
from emo_serve.engine.execution.pixel_threads import PixelThreads
from emo_serve.engine.execution.session import OpenSession, open_session
from emo_serve.engine.host import usable_cores
from emo_serve.engine.registry.default_models import configured_defaults
from emo_serve.engine.registry.deployment import Deployment
from emo_serve.engine.registry.preflight import Preflight
from emo_serve.engine.registry.reconciler import Reconciler
from emo_serve.engine.registry.watcher import watch
from emo_serve.engine.repository.serving_config import DEFAULT, resolve_version
from emo_serve.engine.scheduling.retry_sync import RetrySync
from emo_serve.errors import ModelNotFound, ModelNotReady
from emo_serve.manifest import Task, known_as
from emo_serve.metrics.definitions import Metrics
from emo_serve.settings import Settings

logger = logging.getLogger(__name__)

_LOADING_RETRY_SECONDS = 1.0
_EXPECTED: frozenset[Task] = frozenset({"classify", "detect"})  # tasks that a broken folder may have been for
_SHOWN = 64  # characters of a client's name that an error repeats


class Catalog:
    """All models of the repository; created and used on one event loop."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        on_death: Callable[[], None] = lambda: None,
        open_session: OpenSession = open_session,
        retry_sync: RetrySync | None = None,
        preflight: Preflight | None = None,
    ) -> None:
        """An empty catalog, not ready before ``start``; ``on_death`` is called if a background task ends unexpectedly.

        ``retry_sync`` shares reserved retries with other workers; ``preflight`` tries versions before they are served.
        """
        self._settings = settings
        self._on_death = on_death
        self._pixel_threads = PixelThreads(settings.decode_threads or usable_cores())
        self._configured_defaults = configured_defaults(settings)
        self._reconciler = Reconciler(
            settings, metrics, self._pixel_threads, self._died, open_session, retry_sync, preflight
        )
        self.routes = self._reconciler.traffic.routes
        """Model and alias -> what becomes of the requests that name it."""
        self._state: Literal["loading", "started", "closed"] = "loading"
        self._alive = True
        self._tasks: list[asyncio.Task[None]] = []
        self._start(metrics.measure_event_loop_lag(), "lag meter")

    def _start(self, work: Coroutine[None, None, None], name: str) -> None:
        """Start a background task that must never end."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        task.add_done_callback(self._task_ended)
        self._tasks.append(task)

    async def start(self) -> None:
        """Load every model of the repository, one after the other, in a thread; a broken one is kept as a failure."""
        await self._reconciler.reconcile()
        self._state = "started"
        for obstacle in self.not_ready_reasons():
            logger.error("not ready", extra={"reason": obstacle})
        if self._settings.watch_seconds is not None:
            self._start(watch(self._settings.models, self._settings.watch_seconds, self._reconciler), "watcher")

    async def reconcile(self) -> None:
        """Reconcile with the repository; versions that failed before are tried again."""
        await self._reconciler.reconcile()

    # ---- lookup ----------------------------------------------------------------------------------------------------

    def get(self, task: Task, name: str | None = None, version: str | None = None) -> Deployment:
        """The deployment for a request: the task's default model without a name, the model's default without a version.

        A version is a number or an alias; the default is the one of the alias ``default``, else the highest.

        Raises ModelNotFound, which lists the alternatives, or ModelNotReady.
        """
        if self._state == "loading":
            msg = "The models are still being loaded."
            raise ModelNotReady(msg, _LOADING_RETRY_SECONDS)
        wanted = self._canonical_name(name) if name else self.default(task)
        if wanted is None:
            raise self._no_default(task)
        versions = self.versions(wanted, task)
        if not versions:
            raise self._not_served(task, wanted, is_default=not name)
        return self._pick(wanted, versions, version)

    def find(self, name: str, version: str | None = None) -> Deployment:
        """The deployment of this name for any task; its default if no version is given.

        Raises ModelNotFound, which lists the alternatives.
        """
        name = self._canonical_name(name)
        versions = self.versions(name)
        if not versions:
            msg = f"There is no model {name[:_SHOWN]!r}; there are: {', '.join(self._reconciler.deployments)}."
            raise ModelNotFound(msg)
        return self._pick(name, versions, version)

    def versions(self, name: str, task: Task | None = None) -> dict[str, Deployment]:
        """The deployments of this name by version, the highest last; for one task or all."""
        own = self._reconciler.deployments.get(name, {})
        return {version: own[version] for version in sorted(own, key=int) if task in (None, own[version].manifest.task)}

    def aliases(self, deployment: Deployment) -> list[str]:
        """The aliases of this deployment."""
        named = self._reconciler.configs.aliases.get(deployment.manifest.name, {})
        return sorted(alias for alias, version in named.items() if version == deployment.manifest.version)

    def shares(self, deployment: Deployment) -> dict[str, float]:
        """Alias -> the share of its requests that this deployment gets, for aliases that are split."""
        targets = self._reconciler.configs.targets.get(deployment.manifest.name, {}).items()
        splits = {alias: target.split.shares for alias, target in targets if target.split is not None}
        version = deployment.manifest.version
        return {alias: shares[version] for alias, shares in sorted(splits.items()) if version in shares}

    def shadows(self, deployment: Deployment) -> list[str]:
        """The aliases whose shadow this deployment is."""
        targets = self._reconciler.configs.targets.get(deployment.manifest.name, {}).items()
        version = deployment.manifest.version
        return sorted(alias for alias, target in targets if target.shadow and target.shadow.version == version)

    def is_default(self, deployment: Deployment) -> bool:
        """True if it answers requests for its task that name neither model nor version."""
        name, task = deployment.manifest.name, deployment.manifest.task
        return name == self.default(task) and deployment is self._version(name, self.versions(name, task))

    def _canonical_name(self, name: str) -> str:
        """The model's name as the repository spells it."""
        return name if name in self._reconciler.deployments else known_as(name, self._reconciler.known)

    def _no_default(self, task: Task) -> ModelNotFound | ModelNotReady:
        """The error for a task without a default model."""
        if self._reconciler.defaults.are_unknown:
            return ModelNotReady(f"The default model for {task} is not known; the list of models says why.")
        names = sorted(self._reconciler.found[task])
        if not names:
            found = self._reconciler.found.items()
            others = "; ".join(f"{', '.join(sorted(names))} for {other}" for other, names in found if names)
            return ModelNotFound(f"No model serves {task}. There are: {others or 'none'}.")
        several = ", ".join(names)
        return ModelNotFound(f"Several models serve {task} and none is the default: name one of {several} as model.")

    def _not_served(self, task: Task, name: str, *, is_default: bool) -> ModelNotFound | ModelNotReady:
        if name in self._reconciler.found[task]:
            return ModelNotReady(f"Model {name!r} could not be started; the list of models says why.")
        there_are = f"there are: {', '.join(self._names(task)) or 'none'}."
        if is_default:
            return ModelNotReady(f"{name!r}, the default for {task}, is not served; {there_are}")
        return ModelNotFound(f"There is no model {name!r} for {task}; {there_are}")

    def _pick(self, name: str, versions: dict[str, Deployment], version: str | None) -> Deployment:
        """The requested version or alias, else the default; raises ModelNotFound or ModelNotReady."""
        picked = self._version(name, versions, version)
        if picked is not None:
            return picked
        aliases = self._reconciler.configs.aliases.get(name, {})
        if version in (None, *aliases):
            msg = f"Version {aliases[version or DEFAULT]} of model {name!r}, which should answer, is not served."
            raise ModelNotReady(msg)
        msg = f"Model {name!r} has no version {version!r}; there are: {', '.join((*versions, *sorted(aliases)))}."
        raise ModelNotFound(msg)

    def _version(self, name: str, versions: dict[str, Deployment], version: str | None = None) -> Deployment | None:
        aliases = self._reconciler.configs.aliases.get(name)
        if version is None and not aliases:  # as most requests: without a call
            return next(reversed(versions.values()), None)
        found = resolve_version(version, versions, aliases or {})
        return None if found is None else versions[found]

    def _names(self, task: Task) -> list[str]:
        return [name for name in sorted(self._reconciler.deployments) if self.versions(name, task)]

    def all(self) -> tuple[Deployment, ...]:
        """Every deployment, by name, then version."""
        return tuple(
            deployment for name in sorted(self._reconciler.deployments) for deployment in self.versions(name).values()
        )

    def default(self, task: Task) -> str | None:
        """The name of the task's default model: from the settings, else from the repository.

        Working or not, so that a broken model is not silently replaced by another. None if there is no default.
        """
        configured = self._configured_defaults[task]
        return self._canonical_name(configured) if configured else self._reconciler.defaults.names.get(task)

    @property
    def failures(self) -> dict[str, str]:
        """Models that could not be served: path inside the repository -> reason."""
        return dict(self._reconciler.failures)

    # ---- state -----------------------------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """True while every background task runs; once False it stays False."""
        return self._alive

    @property
    def ready(self) -> bool:
        """True if requests may be sent here."""
        return not self.not_ready_reasons()

    def not_ready_reasons(self) -> list[str]:
        """Reasons why the process is not ready; empty if it is."""
        if self._state == "loading":
            return ["the models are still being loaded"]
        if self._state == "closed":
            return ["shutting down"]
        not_ready_reasons = [] if self._alive else ["a batcher died"]
        if not self._reconciler.deployments:
            not_ready_reasons.append("no model is served")
        if self._reconciler.defaults.are_unknown:
            not_ready_reasons.append(f"{DEFAULTS_FILE} cannot be read")
        for task in self._reconciler.found:
            served = self._names(task)
            default = self.default(task)
            if default is not None and self._version(default, self.versions(default, task)) is None:
                not_ready_reasons.append(f"the default model for {task}, {default!r}, is not served")
            elif not served and self._reconciler.missing and task in _EXPECTED:
                not_ready_reasons.append(
                    f"no model serves {task}, and there are failures: {', '.join(sorted(self._reconciler.missing))}"
                )
        return not_ready_reasons

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
        await self._reconciler.close()
        self._pixel_threads.close()
