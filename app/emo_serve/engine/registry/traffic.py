"""Routes of aliases: which version answers a request that names one, and whether another one gets a copy."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate

from emo_serve.engine.registry.deployment import Deployment
from emo_serve.engine.registry.shadow import Shadow, SpareThread
from emo_serve.engine.repository.traffic_config import Shadow as ShadowConfig
from emo_serve.engine.repository.traffic_config import Split
from emo_serve.metrics.counters import Total
from emo_serve.metrics.definitions import Metrics
from emo_serve.metrics.traffic import ShadowMetrics

_BITS = 53  # of a hash: as many as a float holds exactly


@dataclass(frozen=True, slots=True)
class Target:
    """What an alias names: a version, those that share its requests, and its shadow."""

    version: str
    split: Split | None = None
    shadow: ShadowConfig | None = None

    @property
    def versions(self) -> dict[str, str]:
        """All of these versions, and what names each, in words."""
        shadows = {self.shadow.version: "the shadow of "} if self.shadow else {}
        return shadows | dict.fromkeys(self.split.shares if self.split else (), "the split of ") | {self.version: ""}

    def fault(self, alias: str, served: Mapping[str, Deployment]) -> str | None:
        """What is wrong with it for this alias of a model whose versions are ``served``; None if nothing is."""
        for version, what in self.versions.items():
            if version not in served:
                return f"{what}the alias {alias!r} names version {version}, which is not served"
        tasks = {version: served[version].manifest.task for version in self.versions}
        for version, task in tasks.items():
            if task != tasks[self.version]:
                what, own = self.versions[version], tasks[self.version]
                return f"{what}the alias {alias!r} names version {version}, whose task is {task}, not {own}"
        return None


class Route:
    """What becomes of the requests that name one alias of a model."""

    def __init__(
        self,
        key: str,
        target: Target,
        served: Mapping[str, Deployment],
        requests: Mapping[str, Total],
        shadow: Shadow | None,
    ) -> None:
        """``key``, which ends with NUL, differs from one alias to the next, so that each is split by itself."""
        self.requests = requests
        """What counts its requests, by version."""
        self.shadow = shadow
        self.is_split = target.split is not None
        """False where its own version answers alone."""
        self._hash = blake2b(key.encode(), digest_size=8)
        self._by = target.split.by if target.split else None
        shares = target.split.shares if target.split else {}
        others = sorted((version for version in shares if version != target.version), key=int)
        # The others come first: while their shares grow, who has come to one of them stays there.
        self._bounds = list(accumulate(shares[version] for version in others))
        if others and not shares[target.version]:
            self._bounds[-1] = 1.0  # whatever the sum was rounded to
        self._others = [served[version] for version in others]
        self._header = target.split.header.lower().encode() if target.split and target.split.header else b""

    def choose(self, own: Deployment, client: str, request_id: str, headers: Mapping[bytes, bytes]) -> Deployment:
        """The version for a request; always the same for the same client, header value or request id."""
        if self._by == "header":
            value = headers.get(self._header, b"")
            if not value:
                return own
        else:
            value = (client if self._by == "client" else request_id).encode()
        hashed = self._hash.copy()
        hashed.update(value)
        point = (int.from_bytes(hashed.digest()) >> (64 - _BITS)) / 2**_BITS
        return next((other for bound, other in zip(self._bounds, self._others, strict=True) if point < bound), own)


class Traffic:
    """The routes of all aliases of the models that are served; used on one event loop."""

    def __init__(self, metrics: Metrics, thread: SpareThread) -> None:
        self.routes: dict[tuple[str, str], Route] = {}
        """Model and alias -> route."""
        self._metrics = metrics.traffic
        self._thread = thread

    def update(
        self, targets: Mapping[str, Mapping[str, Target]], deployments: Mapping[str, Mapping[str, Deployment]]
    ) -> None:
        """Follow the targets from now on; those whose version is not served have no route."""
        self.routes.clear()
        for model, aliases in targets.items():
            served = deployments.get(model, {})
            for alias, target in aliases.items():
                if target.fault(alias, served) is None:
                    self.routes[model, alias] = self._route(model, alias, target, served)

    def _route(self, model: str, alias: str, target: Target, served: Mapping[str, Deployment]) -> Route:
        answering = [target.version, *(target.split.shares if target.split else ())]
        requests = self._metrics.requests_of(model, alias, answering)
        shadow = None
        if target.shadow is not None:
            metrics = ShadowMetrics(self._metrics, model, alias, target.shadow.version)
            shadow = Shadow(served[target.shadow.version], target.shadow.share, self._thread, metrics)
        return Route(f"{model}/{alias}\0", target, served, requests, shadow)
