"""Reconciler: loads new versions of the repository, then lets them take requests, and drains and retires old ones.

A version takes requests only once its files, its golden pair and its first runs were good; until then, or if they are
not, the old one keeps serving. Loaded versions need their files no more, so absence is handled with care: a version
that an alias names stays, the last version of a model stays as long as the model's folder exists, and an empty
repository changes nothing.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from emo_serve.defaults import DEFAULTS_FILE
from emo_serve.engine.execution.pixel_threads import PixelThreads
from emo_serve.engine.execution.session import OpenSession
from emo_serve.engine.host import trim_heap, usable_cores
from emo_serve.engine.registry.default_models import DefaultModels
from emo_serve.engine.registry.deployment import Deployment
from emo_serve.engine.registry.load_thread import LoadThread
from emo_serve.engine.registry.preflight import Preflight, Unfit
from emo_serve.engine.registry.serving_configs import ServingConfigs
from emo_serve.engine.registry.shadow import SpareThread
from emo_serve.engine.registry.traffic import Traffic
from emo_serve.engine.repository.artefacts import (
    SERVING_CONFIG_FILE,
    Artefact,
    Fingerprint,
    RepositoryState,
    scan_state,
)
from emo_serve.engine.scheduling.retry_sync import RetrySync
from emo_serve.engine.tuning.runner import START_SECONDS, Tuner
from emo_serve.engine.tuning.search import Tuning
from emo_serve.errors import StartupError
from emo_serve.manifest import MANIFEST_FILE, TASKS, Manifest, Task, read_manifest
from emo_serve.metrics.definitions import Metrics
from emo_serve.settings import Settings

logger = logging.getLogger(__name__)

_CHANGED = "was changed after it was loaded; what was loaded goes on, and what is new needs a version of its own"


class Reconciler:
    """The deployments, loaded and retired to match the repository; created and used on one event loop."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        pixel_threads: PixelThreads,
        on_death: Callable[[], None],
        open_session: OpenSession,
        retry_sync: RetrySync | None,
        preflight: Preflight | None = None,
    ) -> None:
        """Serve nothing yet; versions are tried by ``preflight``, which this object closes."""
        self.deployments: dict[str, dict[str, Deployment]] = {}  # name -> version -> deployment
        self.found: dict[Task, set[str]] = {task: set() for task in TASKS}  # names by task, working or not
        self.defaults = DefaultModels(settings.models)
        self.failures: dict[str, str] = {}  # path inside the repository -> reason
        self.missing: set[str] = set()  # names that failed at start and have not been served yet
        self.seen: RepositoryState | None = None  # the state of the last reconciliation
        self._root = settings.models
        self._settings = settings
        self._metrics = metrics
        self._pixel_threads = pixel_threads
        self._load_thread = LoadThread()
        self._on_death = on_death
        self._open_session = open_session
        self._retry_sync = retry_sync
        self._preflight = preflight or Preflight(settings)
        self.configs = ServingConfigs()
        self._spare_thread = SpareThread(self._has_room)
        self.traffic = Traffic(metrics, self._spare_thread)
        self._fingerprints: dict[Path, Fingerprint] = {}  # of the served versions
        self._broken: dict[Path, tuple[Fingerprint, str]] = {}
        self._tunings: dict[str, Tuning] = {}  # name -> tuning of its last loaded version
        self._retiring: set[asyncio.Task[None]] = set()
        self._reconciling = asyncio.Lock()
        self._work: asyncio.Task[None] | None = None  # the running reconciliation, for ``close`` to cancel
        self._cores = settings.batching.instances or usable_cores()
        self._started = False
        self._closed = False

    @property
    def known(self) -> set[str]:
        """The names of all models, working or not."""
        return set(self.deployments).union(*self.found.values())

    async def reconcile(self, seen: RepositoryState | None = None, *, again: bool = True) -> None:
        """Reconcile with the repository state ``seen``, or the current one; return when that is done.

        ``again``: retry versions that failed before and have not changed. Does nothing once this is closed.
        """
        async with self._reconciling:
            if self._closed:
                return
            self._work = asyncio.create_task(self._reconcile(seen, again=again))
            try:
                await self._work
            except asyncio.CancelledError:
                if not self._closed:  # otherwise it was given up by ``close``, and the caller goes on
                    raise

    async def _reconcile(self, seen: RepositoryState | None, *, again: bool) -> None:
        if seen is None:
            seen = await asyncio.to_thread(scan_state, self._root)
        failures = dict(seen.failures)
        if seen.versions or not self.deployments:
            await self._serve(seen, failures, again=again)
        elif self._root not in failures:
            failures[self._root] = f"{self._root}: holds no model any more; those that were loaded go on"
        self._publish(failures)
        missing = {path.split("/")[0] for path in self.failures} - self.deployments.keys() - {DEFAULTS_FILE}
        self.missing = self.missing & missing if self._started else missing
        self.seen = seen
        self._started = True

    async def _serve(self, seen: RepositoryState, failures: dict[Path, str], *, again: bool) -> None:
        self.configs.read(seen, failures, self.deployments)
        self._resolve()  # before a new version can answer instead of a pinned one
        wanted = [path for path in seen.versions if path.name not in self.configs.of(path.parent.name).unloaded]
        await self._load(await self._to_load(wanted, seen, failures, again=again), seen, failures)
        for name, fault in self._resolve():
            path = self._root / name / SERVING_CONFIG_FILE
            failures.setdefault(path, f"{path}: {fault}")  # a file that cannot be read comes first
        self._retire(seen, failures)
        for names in self.found.values():
            names.intersection_update(seen.names | self.deployments.keys())
        self.defaults.update(seen.defaults, self.found, self.deployments, failures)

    def _resolve(self) -> list[tuple[str, str]]:
        """Let the aliases name what is configured, as far as it is served; as ``ServingConfigs.resolve``."""
        unresolved = self.configs.resolve(self.deployments)
        self.traffic.update(self.configs.targets, self.deployments)
        return unresolved

    def _has_room(self) -> bool:
        """True if more than half of the cores of this process are idle, so that images may come."""
        served = (deployment for versions in self.deployments.values() for deployment in versions.values())
        return 2 * sum(deployment.under_way for deployment in served) < self._cores

    # ---- loading ---------------------------------------------------------------------------------------------------

    async def _to_load(
        self, wanted: list[Path], seen: RepositoryState, failures: dict[Path, str], *, again: bool
    ) -> list[Path]:
        """The folders to load: neither served nor known to be broken."""
        to_load = []
        for path in wanted:
            fingerprint = seen.versions[path]
            served = self.deployments.get(path.parent.name, {}).get(path.name)
            known = self._broken.get(path)
            if served is not None:
                if fingerprint != self._fingerprints[path]:
                    if await asyncio.to_thread(_is_unchanged, path, served.manifest):
                        self._fingerprints[path] = fingerprint
                    else:
                        failures[path] = f"{path}: {_CHANGED}"
            elif known is not None and known[0] == fingerprint and not again:
                failures[path] = known[1]
            else:
                to_load.append(path)
        return to_load

    async def _load(self, to_load: list[Path], seen: RepositoryState, failures: dict[Path, str]) -> None:
        """Try, tune, load and warm up, one after the other, in threads; broken ones are kept as failures."""
        self._broken = {path: known for path, known in self._broken.items() if path in seen.versions}
        if not to_load:
            return
        async with asyncio.TaskGroup() as group:
            tried = {path: asyncio.get_running_loop().create_future() for path in to_load}
            trials = group.create_task(self._preflight.try_all(tried))  # tries the next one while this one is loaded
            if self._settings.tune and not self._started:
                await trials  # they would disturb the measurements
            good = sum(future.done() and isinstance(future.result(), Artefact) for future in tried.values())
            tuner = await asyncio.to_thread(Tuner, self._settings, good, self._open_session)
            for path, future in tried.items():
                artefact = await future
                if isinstance(artefact, Artefact | Unfit) and not self._started:
                    self.found[artefact.manifest.task].add(artefact.manifest.name)
                error = await self._deploy(artefact, tuner) if isinstance(artefact, Artefact) else artefact
                self._metrics.loaded(path.parent.name, "failed" if error else "ok")
                if error is None:
                    self._fingerprints[path] = seen.versions[path]
                    self._broken.pop(path, None)
                else:
                    described = isinstance(error, StartupError)  # it says by itself what is wrong
                    fields = {"path": str(path), "reason": str(error)}
                    logger.error("a model cannot be served", extra=fields, exc_info=None if described else error)
                    self._broken[path] = (seen.versions[path], str(error))
                    failures[path] = str(error)

    async def _deploy(self, artefact: Artefact, tuner: Tuner) -> Exception | None:
        """Serve the version; returns the error, if any."""
        manifest = artefact.manifest
        # Twice the time of the trial, as requests use some of the cores.
        seconds = 2 * self._settings.load_seconds
        try:
            if self._started:
                tuning = await asyncio.to_thread(tuner.recall, artefact, self._tunings.get(manifest.name))
            else:
                async with asyncio.timeout(seconds + START_SECONDS):
                    tuning = await asyncio.to_thread(tuner.tune, artefact)
            async with asyncio.timeout(seconds):
                deployment = await Deployment.start(
                    artefact,
                    tuning.setting.applied_to(self._settings),
                    self._metrics,
                    self._pixel_threads,
                    self._load_thread,
                    self._on_death,
                    self._open_session,
                    tuning.batch_seconds,
                )
        except TimeoutError:
            return StartupError(f"{artefact.model_path}: was not loaded within {seconds:g} seconds, and was given up")
        except Exception as error:  # noqa: BLE001  # any fault of one model must not affect the others
            return error
        self._tunings[manifest.name] = tuning
        self.found[manifest.task].add(manifest.name)  # only once it works, as this may make it the default
        self.deployments.setdefault(manifest.name, {})[manifest.version] = deployment
        if self._retry_sync is not None:
            self._retry_sync.register(f"{manifest.name}/{manifest.version}", deployment.retry_schedule)
        logger.info("serving", extra={"model": manifest.name, "version": manifest.version, "task": manifest.task})
        return None

    # ---- retiring --------------------------------------------------------------------------------------------------

    def _retire(self, seen: RepositoryState, failures: dict[Path, str]) -> None:
        """Retire versions that the repository no longer wants; their accepted requests are still answered."""
        for name, versions in list(self.deployments.items()):
            for version in sorted(versions, key=int):
                path = self._root / name / version
                is_present = path in seen.present or path.parent in seen.present
                if is_present and version not in self.configs.of(name).unloaded:
                    continue
                if self._stays(name, version, seen, failures):
                    continue
                self._fingerprints.pop(path)
                logger.info("retired", extra={"model": name, "version": version})
                task = asyncio.create_task(_end(versions.pop(version)), name=f"retirement of {name} {version}")
                self._retiring.add(task)
                task.add_done_callback(self._retiring.discard)
            if not versions:
                del self.deployments[name]
                self._tunings.pop(name, None)

    def _stays(self, name: str, version: str, seen: RepositoryState, failures: dict[Path, str]) -> bool:
        """True if an unwanted version has to stay; that is listed as a failure."""
        path = self._root / name / version
        if aliases := self.configs.users(name, version):
            failures.setdefault(path, f"{path}: is gone, and stays loaded because {aliases[0]!r} names it")
        elif len(self.deployments[name]) == 1 and name in seen.names:
            failures.setdefault(path, f"{path}: is gone or unloaded, and stays loaded as the last of its model")
        else:
            return False
        return True

    def _publish(self, failures: Mapping[Path, str]) -> None:
        root = self._root  # clients must not learn its place in the file system
        published: dict[str, str] = {}
        for path, text in failures.items():
            inside = path.relative_to(root).as_posix()
            published[inside] = text.replace(f"{root}{os.sep}", "").replace(str(root), root.name)
            if path not in self._broken and self.failures.get(inside) != published[inside]:
                logger.error("the repository cannot be followed", extra={"path": str(path), "reason": text})
        self.failures = published

    async def close(self) -> None:
        """Drain and end all deployments at the same time; loading is given up."""
        self._closed = True
        self._spare_thread.close()
        self._preflight.close()
        self._load_thread.close()
        if self._work is not None:
            self._work.cancel()
        async with self._reconciling:
            served = [deployment for versions in self.deployments.values() for deployment in versions.values()]
            await asyncio.gather(*(deployment.close() for deployment in served), *self._retiring)


async def _end(deployment: Deployment) -> None:
    await deployment.retire()
    del deployment  # the last reference
    await asyncio.to_thread(trim_heap)


def _is_unchanged(folder: Path, manifest: Manifest) -> bool:
    """True if the folder still holds the loaded version; the manifest contains the digests of its files."""
    try:
        return read_manifest(folder / MANIFEST_FILE) == manifest
    except StartupError:
        return False
