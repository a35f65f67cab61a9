"""What is served follows the repository: new versions are loaded and then take requests, old ones finish and end.

A version takes requests only when its files, its golden pair and its first runs were good; until then, and where they
are not, what was served goes on. What was loaded does not need its files any more, so the rules about their absence
are careful: what an alias names stays, the last version of a model stays as long as the model's folder does, and a
repository in which nothing is found changes nothing.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from emo_serve.defaults import DEFAULTS_FILE
from emo_serve.engine.execution.pixel_threads import PixelWorkers
from emo_serve.engine.host.memory import give_back
from emo_serve.engine.registry.default_models import DefaultModels
from emo_serve.engine.registry.deployment import Deployment, OpenSession
from emo_serve.engine.registry.preflight import Preflight, Unfit
from emo_serve.engine.repository.artefacts import CHOICES_FILE, Artefact, Look, Stamp, look
from emo_serve.engine.repository.serving_config import Choices, parse_choices
from emo_serve.engine.scheduling.retry_sync import Bookings
from emo_serve.engine.tuning.runner import START_SECONDS, Tuner
from emo_serve.engine.tuning.search import Tuning
from emo_serve.errors import StartupError
from emo_serve.manifest import MANIFEST_FILE, Manifest, Task, read_manifest
from emo_serve.metrics.definitions import Metrics
from emo_serve.settings import Settings

logger = logging.getLogger(__name__)

_CHANGED = "was changed after it was loaded; what was loaded goes on, and what is new needs a version of its own"


class Rollout:
    """The deployments, loaded and retired as the repository says; made and used on one event loop."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        workers: PixelWorkers,
        on_death: Callable[[], None],
        open_session: OpenSession,
        bookings: Bookings | None,
        preflight: Preflight | None = None,
    ) -> None:
        """Serve nothing yet; versions are tried by a ``preflight``, which this object closes."""
        self.deployments: dict[str, dict[str, Deployment]] = {}  # name -> version -> deployment
        self.aliases: dict[str, dict[str, str]] = {}  # name -> alias -> version
        self.found: dict[Task, set[str]] = {
            "classify": set(),
            "detect": set(),
            "segment": set(),
        }  # the names, working or not
        self.defaults = DefaultModels(settings.models)
        self.failures: dict[str, str] = {}  # path inside the repository -> why
        self.missing: set[str] = set()  # the names that failed at start and have served nothing yet
        self.seen: Look | None = None  # what was followed last
        self._root = settings.models
        self._settings = settings
        self._metrics = metrics
        self._workers = workers
        self._on_death = on_death
        self._open_session = open_session
        self._bookings = bookings
        self._preflight = preflight or Preflight(settings)
        self._choices: dict[str, Choices] = {}
        self._stamps: dict[Path, Stamp] = {}  # of what is served
        self._broken: dict[Path, tuple[Stamp, str]] = {}
        self._tunings: dict[str, Tuning] = {}  # name -> that of the version loaded last
        self._retiring: set[asyncio.Task[None]] = set()
        self._following = asyncio.Lock()
        self._work: asyncio.Task[None] | None = None  # of following, for ``close`` to end
        self._started = False
        self._closed = False

    @property
    def known(self) -> set[str]:
        """The names of all models, working or not."""
        return set(self.deployments).union(*self.found.values())

    async def follow(self, seen: Look | None = None, *, again: bool = True) -> None:
        """Serve what the repository holds, ``seen`` or as it is now; return when that is done.

        What was broken and has not changed since is tried ``again``, or not. Nothing is done once this is closed.
        """
        async with self._following:
            if self._closed:
                return
            self._work = asyncio.create_task(self._follow(seen, again=again))
            try:
                await self._work
            except asyncio.CancelledError:
                if not self._closed:  # else it was given up, and whoever waits for it goes on
                    raise

    async def _follow(self, seen: Look | None, *, again: bool) -> None:
        if seen is None:
            seen = await asyncio.to_thread(look, self._root)
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

    async def _serve(self, seen: Look, failures: dict[Path, str], *, again: bool) -> None:
        self._choices = self._chosen(seen, failures)
        self._resolve()  # before a new version can answer in the place of one that is pinned
        wanted = [path for path in seen.versions if path.name not in self._chosen_for(path.parent.name).unloaded]
        await self._load(await self._fresh(wanted, seen, failures, again=again), seen, failures)
        for name, alias in self._resolve():
            path, version = self._root / name / CHOICES_FILE, self._choices[name].aliases[alias]
            failures[path] = f"{path}: the alias {alias!r} names version {version}, which is not served"
        self._retire(seen, failures)
        for names in self.found.values():
            names.intersection_update(seen.names | self.deployments.keys())
        self.defaults.follow(seen.defaults, self.found, self.deployments, failures)

    # ---- choices ---------------------------------------------------------------------------------------------------

    def _chosen(self, seen: Look, failures: dict[Path, str]) -> dict[str, Choices]:
        """What is chosen for each model; where that cannot be read, what was chosen before."""
        chosen: dict[str, Choices] = {}
        for path in (*seen.choices, *(path for path in failures if path.name == CHOICES_FILE)):
            name = path.parent.name
            try:
                if path in seen.choices:
                    chosen[name] = parse_choices(path, seen.choices[path])
                    continue
            except StartupError as error:
                failures[path] = str(error)
            if name in self._choices:
                chosen[name] = self._choices[name]
            elif name not in self.deployments:  # who was pinned or unloaded is not known: none may answer
                versions = frozenset(folder.name for folder in seen.versions if folder.parent.name == name)
                chosen[name] = Choices.model_construct(aliases={}, unloaded=versions)
        return chosen

    def _chosen_for(self, name: str) -> Choices:
        return self._choices.get(name, Choices())

    def _resolve(self) -> list[tuple[str, str]]:
        """Let aliases name what they shall, as far as it is served; gives those (name, alias) that cannot."""
        astray = []
        aliases: dict[str, dict[str, str]] = {}
        for name, choices in self._choices.items():
            served, before = self.deployments.get(name, {}), self.aliases.get(name, {})
            for alias, version in choices.aliases.items():
                if version not in served:
                    astray.append((name, alias))
                now = version if version in served else before.get(alias, version)
                aliases.setdefault(name, {})[alias] = now
        self.aliases = aliases
        return astray

    # ---- loading ---------------------------------------------------------------------------------------------------

    async def _fresh(self, wanted: list[Path], seen: Look, failures: dict[Path, str], *, again: bool) -> list[Path]:
        """The folders to load; those that are served, or known to be broken, are none."""
        fresh = []
        for path in wanted:
            stamp = seen.versions[path]
            served = self.deployments.get(path.parent.name, {}).get(path.name)
            known = self._broken.get(path)
            if served is not None:
                if stamp != self._stamps[path]:
                    if await asyncio.to_thread(_is_of, path, served.manifest):
                        self._stamps[path] = stamp
                    else:
                        failures[path] = f"{path}: {_CHANGED}"
            elif known is not None and known[0] == stamp and not again:
                failures[path] = known[1]
            else:
                fresh.append(path)
        return fresh

    async def _load(self, fresh: list[Path], seen: Look, failures: dict[Path, str]) -> None:
        """Try, tune, load and warm up, one after the other, in threads; a broken one is kept as a failure."""
        self._broken = {path: known for path, known in self._broken.items() if path in seen.versions}
        if not fresh:
            return
        async with asyncio.TaskGroup() as group:
            tried = {path: asyncio.get_running_loop().create_future() for path in fresh}
            trials = group.create_task(self._preflight.try_all(tried))  # the next one while this one is loaded
            if self._settings.tune and not self._started:
                await trials  # or they would disturb what is measured
            good = sum(future.done() and isinstance(future.result(), Artefact) for future in tried.values())
            tuner = await asyncio.to_thread(Tuner, self._settings, good, self._open_session)
            for path, future in tried.items():
                artefact = await future
                if isinstance(artefact, Artefact | Unfit) and not self._started:
                    self.found[artefact.manifest.task].add(artefact.manifest.name)
                error = await self._deploy(artefact, tuner) if isinstance(artefact, Artefact) else artefact
                self._metrics.loaded(path.parent.name, "failed" if error else "ok")
                if error is None:
                    self._stamps[path] = seen.versions[path]
                    self._broken.pop(path, None)
                else:
                    logger.error("a model cannot be served", extra={"path": str(path)}, exc_info=error)
                    self._broken[path] = (seen.versions[path], str(error))
                    failures[path] = str(error)

    async def _deploy(self, artefact: Artefact, tuner: Tuner) -> Exception | None:
        """Serve it; what is wrong with it, if anything."""
        manifest = artefact.manifest
        # Twice what it was tried in: requests take their share of the cores.
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
                    self._workers,
                    self._on_death,
                    self._open_session,
                    tuning.batch_seconds,
                )
        except TimeoutError:
            return StartupError(f"{artefact.model_path}: was not loaded within {seconds:g} seconds, and was given up")
        except Exception as error:  # noqa: BLE001  # whatever is wrong with one model, the others shall serve
            return error
        self._tunings[manifest.name] = tuning
        self.found[manifest.task].add(manifest.name)  # not before it works, for it may become the default by that
        self.deployments.setdefault(manifest.name, {})[manifest.version] = deployment
        if self._bookings is not None:
            self._bookings.join(f"{manifest.name}/{manifest.version}", deployment.returns)
        logger.info("serving", extra={"model": manifest.name, "version": manifest.version, "task": manifest.task})
        return None

    # ---- retiring --------------------------------------------------------------------------------------------------

    def _retire(self, seen: Look, failures: dict[Path, str]) -> None:
        """Take from service what the repository no longer wants; who was let in is answered all the same."""
        for name, versions in list(self.deployments.items()):
            for version in sorted(versions, key=int):
                path = self._root / name / version
                is_present = path in seen.present or path.parent in seen.present
                if is_present and version not in self._chosen_for(name).unloaded:
                    continue
                if self._stays(name, version, seen, failures):
                    continue
                self._stamps.pop(path)
                logger.info("retired", extra={"model": name, "version": version})
                task = asyncio.create_task(_end(versions.pop(version)), name=f"retirement of {name} {version}")
                self._retiring.add(task)
                task.add_done_callback(self._retiring.discard)
            if not versions:
                del self.deployments[name]
                self._tunings.pop(name, None)

    def _stays(self, name: str, version: str, seen: Look, failures: dict[Path, str]) -> bool:
        """Whether a version that is no longer wanted has to stay; that is a failure, for people to see."""
        path = self._root / name / version
        aliases = [alias for alias, named in self.aliases.get(name, {}).items() if named == version]
        if aliases:
            failures.setdefault(path, f"{path}: is gone, and stays loaded because {aliases[0]!r} names it")
        elif len(self.deployments[name]) == 1 and name in seen.names:
            failures.setdefault(path, f"{path}: is gone or unloaded, and stays loaded as the last of its model")
        else:
            return False
        return True

    def _publish(self, failures: Mapping[Path, str]) -> None:
        root = self._root  # its place in the file system is nothing for clients
        published: dict[str, str] = {}
        for path, text in failures.items():
            inside = path.relative_to(root).as_posix()
            published[inside] = text.replace(f"{root}{os.sep}", "").replace(str(root), root.name)
            if path not in self._broken and self.failures.get(inside) != published[inside]:
                logger.error("the repository cannot be followed", extra={"path": str(path), "reason": text})
        self.failures = published

    async def close(self) -> None:
        """Drain and end all deployments at the same time; what is being loaded is given up."""
        self._closed = True
        self._preflight.close()
        if self._work is not None:
            self._work.cancel()
        async with self._following:
            served = [deployment for versions in self.deployments.values() for deployment in versions.values()]
            await asyncio.gather(*(deployment.close() for deployment in served), *self._retiring)


async def _end(deployment: Deployment) -> None:
    await deployment.retire()
    del deployment  # the last reference
    await asyncio.to_thread(give_back)


def _is_of(folder: Path, manifest: Manifest) -> bool:
    """Whether the folder still is what was loaded; its files have digests in the manifest."""
    try:
        return read_manifest(folder / MANIFEST_FILE) == manifest
    except StartupError:
        return False
