"""The engine of many machines: actors of a Ray cluster that compute shards; without a cluster, one on this machine.

What travels is a shard's list of paths or addresses, and how many of its pictures failed. An actor that dies is started
again by Ray, where there is room, and its shard goes to whichever actor is next.
"""

import os
import secrets
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from emo_serve.engine.host import usable_cores
from emo_serve.errors import StartupError
from emo_serve.offline.backlog import Backlog
from emo_serve.offline.shards import Report, Shard, ShardComputer, Work

_MOST_ATTEMPTS = 5
"""At one shard: what fails so often will fail again."""
_STEP_SECONDS = 1.0  # between looks at signals
_OBJECT_STORE_BYTES = 80_000_000  # the least that Ray takes; nothing goes through it
_STARTS = 3
_OF_ONE_MACHINE = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # where Ray takes a machine for no cluster it listens on loopback only
    "RAY_AUTH_MODE": "token",  # other users of the machine reach its loopback, too
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # as Ray warns it will be
}


def compute_on_ray(work: Work, backlog: Backlog, count: int | None) -> None:
    """Compute what the backlog gives in so many actors, by default one a core of the cluster at ``RAY_ADDRESS``.

    On ``cuda`` they share the GPUs evenly. Raises StartupError if an actor cannot load the model, or one shard fails
    time and again.
    """
    if not backlog:
        return
    with _interrupted_by_sigterm(), _cluster(count) as ray:
        cores, gpus = _resources(ray, on_gpus=work.settings.session.provider == "cuda")
        count = min(count or cores, len(backlog))
        work = replace(work, settings=work.settings.model_copy(update={"admin_token": None}))  # no business of theirs
        options = {"num_cpus": 1, "num_gpus": _share(gpus, count), "max_restarts": -1, "max_task_retries": 0}
        actor = ray.remote(_ShardActor).options(**options)
        with backlog.stopped_by_signals():
            _Run(ray, [actor.remote(work) for _ in range(count)], backlog).go()


class _ShardActor:
    """Computes shards in a process of the cluster."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._computer: ShardComputer | None = None

    def load(self) -> None:
        """Load the model; raises StartupError, which a constructor could not."""
        self._computer = ShardComputer(self._work)

    def compute(self, shard: Shard) -> Report:
        """Write a shard; raises StartupError."""
        assert self._computer  # noqa: S101  # a shard is sent after load
        reports = list(self._computer.compute(shard))
        pictures, failed = (sum(getattr(report, name) for report in reports) for name in ("pictures", "failed"))
        return Report(pictures, failed, is_written=True)


class _Run:
    """Actors at work: each loads the model, or computes a shard, or is idle."""

    def __init__(self, ray: Any, actors: list[Any], backlog: Backlog) -> None:  # noqa: ANN401  # its types are not here
        self._ray = ray
        self._backlog = backlog
        self._attempts: Counter[str] = Counter()
        self._died_loading = 0  # actors, since one of them was heard of last
        self._most_died_loading = _MOST_ATTEMPTS * len(actors)
        self._busy: dict[Any, tuple[Any, Shard | None]] = {actor.load.remote(): (actor, None) for actor in actors}

    def go(self) -> None:
        """Until all shards are written, or those that were begun when the job was stopped."""
        while self._shards_begun or (self._backlog and not self._backlog.is_stopping):
            done, _ = self._ray.wait(list(self._busy), timeout=_STEP_SECONDS)
            for reference in done:
                actor, shard = self._busy.pop(reference)
                if self._is_fit(reference, shard):
                    self._send_next(actor)
                else:
                    self._busy[actor.load.remote()] = (actor, None)

    @property
    def _shards_begun(self) -> bool:
        return any(shard is not None for _, shard in self._busy.values())

    def _is_fit(self, reference: Any, shard: Shard | None) -> bool:  # noqa: ANN401  # as above
        """Take the result of an actor; False if it has to load the model again first."""
        try:
            report: Report | None = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            if shard is None or not isinstance(error.cause, StartupError):
                raise StartupError(str(error.cause)) from error
            self._failed(shard, error.cause)
            return True
        except self._ray.exceptions.RayError as error:  # the actor, or its machine, is gone
            if shard is not None:
                self._failed(shard, error)
            else:
                self._died_while_loading(error)
            return False
        self._died_loading = 0
        if report is not None:
            self._backlog.add(report)
        return True

    def _died_while_loading(self, error: Exception) -> None:
        self._died_loading += 1
        if self._died_loading == self._most_died_loading:
            msg = f"{self._died_loading} processes in a row ended as they loaded the model (memory?); the last: {error}"
            raise StartupError(msg) from error

    def _failed(self, shard: Shard, error: Exception) -> None:
        self._attempts[shard.name] += 1
        if self._attempts[shard.name] == _MOST_ATTEMPTS:
            msg = f"{shard.name} failed {_MOST_ATTEMPTS} times, from {shard.sources[0].name} on; the last time: {error}"
            raise StartupError(msg) from error
        self._backlog.put_back(shard)

    def _send_next(self, actor: Any) -> None:  # noqa: ANN401  # as above
        """Give it the next shard; an idle actor is asked again when one comes back."""
        shard = self._backlog.next()
        if shard is not None:
            sources = [replace(source, path=source.path and source.path.absolute()) for source in shard.sources]
            self._busy[actor.compute.remote(replace(shard, sources=sources))] = (actor, shard)


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """A context in which SIGTERM interrupts as Ctrl-C does: Ray's own handler would exit with the signal's number."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except SystemExit as error:
        raise KeyboardInterrupt from error
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _cluster(count: int | None) -> Iterator[Any]:
    """Ray, connected to the cluster at ``RAY_ADDRESS``, or with one of its own on the loopback interface."""
    is_local = not os.environ.get("RAY_ADDRESS")
    if is_local:
        os.environ.update(_OF_ONE_MACHINE, RAY_AUTH_TOKEN=secrets.token_hex(32))  # Ray reads them when it is imported
    try:
        import ray  # noqa: PLC0415  # an extra
    except ModuleNotFoundError as error:
        msg = "--engine ray needs the package ray: pip install 'emo-serve[ray]'"
        raise StartupError(msg) from error
    with tempfile.TemporaryDirectory(prefix="emo-ray-", ignore_cleanup_errors=True) as folder:
        try:
            try:
                if is_local:
                    _start(ray, count or usable_cores(), folder)
                else:
                    ray.init(log_to_driver=False)
            except Exception as error:  # Ray raises just that
                msg = f"Ray: {error}"
                raise StartupError(msg) from error
            yield ray
        finally:
            ray.shutdown()


def _start(ray: Any, cores: int, folder: str) -> None:  # noqa: ANN401  # as above
    """Start a cluster on this machine; raises Exception if Ray takes more than its 30 seconds time and again."""
    for left in reversed(range(_STARTS)):
        try:
            ray.init(
                "local",
                num_cpus=cores,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                log_to_driver=False,
                logging_level="warning",
                _temp_dir=folder,
            )
        except Exception:
            ray.shutdown()
            if not left:
                raise
        else:
            return


def _resources(ray: Any, *, on_gpus: bool) -> tuple[int, float]:  # noqa: ANN401  # as above
    """Cores and GPUs of the cluster; where GPUs are asked for, of machines that have one."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    wanted = [node for node in nodes if not on_gpus or node.get("GPU")]
    cores = int(sum(node.get("CPU", 0) for node in wanted))
    if not cores:
        msg = f"the cluster at {os.environ.get('RAY_ADDRESS', 'this machine')} has no {'GPU' if on_gpus else 'cores'}"
        raise StartupError(msg)
    return cores, sum(node["GPU"] for node in wanted) if on_gpus else 0.0


def _share(gpus: float, actors: int) -> float:
    """Of a GPU, for each actor; Ray counts in ten-thousandths."""
    return min(int(gpus / actors * 10_000) / 10_000, 1.0)
