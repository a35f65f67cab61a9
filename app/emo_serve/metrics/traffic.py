"""Metrics of aliases: which versions answered their requests, and how the answers of their shadows compare.

Label values come from manifests and serving configs.
"""

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry

from emo_serve.metrics.counters import Total, counters, histograms

_AGREEMENT_BUCKETS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
_SHADOW = ["model", "alias", "version"]
ANSWER, SHADOW = "answer", "shadow"
"""Whose score or seconds: of what the client got, or of the copy of the same image."""


class TrafficMetrics:
    """The families of these metrics."""

    def __init__(self, registry: CollectorRegistry, seconds: Sequence[float], scores: Sequence[float]) -> None:
        """Declare them in the registry; ``seconds`` and ``scores`` are bounds of buckets."""
        self.requests = counters(
            "emo_alias_requests",
            "Requests that named an alias, or nothing, by the version that got them.",
            ["model", "alias", "version"],
            registry,
        )
        self.copies = counters(
            "emo_shadow_copies",
            "Copies of images that were answered, for a version that answers nobody, by how that ended.",
            [*_SHADOW, "outcome"],
            registry,
        )
        self.agreement = histograms(
            "emo_shadow_agreement",
            "How far a shadow says the same about an image as its answer did, from 0 to 1.",
            _SHADOW,
            _AGREEMENT_BUCKETS,
            registry,
        )
        self.scores = histograms(
            "emo_shadow_score",
            "Scores of the best class, or of objects that both found, in answers and from their shadows.",
            [*_SHADOW, "of"],
            scores,
            registry,
        )
        self.seconds = histograms(
            "emo_shadow_seconds",
            "Seconds that the steps of an image took without waiting, in answers and from their shadows.",
            [*_SHADOW, "of"],
            seconds,
            registry,
        )

    def requests_of(self, model: str, alias: str, versions: Iterable[str]) -> dict[str, Total]:
        """What counts the requests of an alias, by version."""
        return {version: self.requests.labels(model, alias, version) for version in versions}


class ShadowMetrics:
    """The metrics of one shadow, its labels filled in; for the event loop."""

    def __init__(self, traffic: TrafficMetrics, model: str, alias: str, version: str) -> None:
        """Fill in the labels, so that every series exists, at 0, from the start."""
        labels = model, alias, version
        self._compared = traffic.copies.labels(*labels, "compared")
        self.failed = traffic.copies.labels(*labels, "failed")
        self.dropped = traffic.copies.labels(*labels, "dropped")
        self._agreement = traffic.agreement.labels(*labels)
        self._scores = {of: traffic.scores.labels(*labels, of) for of in (ANSWER, SHADOW)}
        self._seconds = {of: traffic.seconds.labels(*labels, of) for of in (ANSWER, SHADOW)}

    def compared(self, agreement: float, scores: Iterable[tuple[float, float]], seconds: tuple[float, float]) -> None:
        """Count one copy; ``scores`` and ``seconds`` are those of the answer and of the shadow."""
        self._compared.value += 1
        self._agreement.observe(agreement)
        for answered, shadowed in scores:
            self._scores[ANSWER].observe(answered)
            self._scores[SHADOW].observe(shadowed)
        self._seconds[ANSWER].observe(seconds[0])
        self._seconds[SHADOW].observe(seconds[1])
