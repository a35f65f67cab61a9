"""The Prometheus metrics of a server, declared once, in a registry of their own.

Label values come from manifests, serving configs and the fixed words below, never from requests, so their number is
bounded.
"""

import asyncio
import time
from collections import Counter as Counts
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from prometheus_client import Gauge, GCCollector, PlatformCollector

from emo_serve.metrics.counters import Histogram, Total, counters, histograms
from emo_serve.metrics.process import process_registry
from emo_serve.metrics.traffic import TrafficMetrics

Outcome = Literal["ok", "invalid", "unavailable", "timeout", "failed", "cancelled"]
Reason = Literal["queue_full", "deadline", "inflight_bytes", "not_ready", "shutting_down"]

_STAGE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_SCORE_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
_DETECTION_BUCKETS = (0, 1, 2, 3, 5, 10, 20, 50, 100)
_LAG_INTERVAL_SECONDS = 0.25

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER = "other"
"""The label value for everything without one of its own."""

MAX_CLASSES = 1000
"""Number of classes of a model, the first of its labels, that are counted by name."""


class Queue(NamedTuple):
    """The state of a queue that metrics report."""

    depth: Callable[[], int]
    """Number of waiting images."""
    age: Callable[[], float]
    """Seconds that the oldest waiting image has waited; 0 if there is none."""


class Metrics:
    """The process's metrics; one instance is created at start and passed down."""

    def __init__(self) -> None:
        """Declare every metric in a new registry."""
        self.registry = registry = process_registry()
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self.requests = counters(
            "emo_requests",
            "Images for which a model was asked, by how that ended.",
            ["model", "task", "outcome"],
            registry,
        )
        self.stages = histograms(
            "emo_stage_seconds",
            "Seconds an answered image spent in a stage; stage total is from admission to answer.",
            ["model", "stage"],
            _STAGE_BUCKETS,
            registry,
        )
        self.batch_size = histograms(
            "emo_batch_size", "Images in one run of the model.", ["model"], _BATCH_BUCKETS, registry
        )
        self.run_seconds = counters("emo_run_seconds", "Seconds that runs of the model took.", ["model"], registry)
        self.expected_run_seconds = counters(
            "emo_expected_run_seconds",
            "Seconds that these runs would have taken by the measurement at start.",
            ["model"],
            registry,
        )
        self.queue_depth = Gauge(
            "emo_queue_depth", "Images that wait for a slot or for a batch now.", ["model"], registry=registry
        )
        self.queue_age = Gauge(
            "emo_queue_age_seconds",
            "Seconds that the longest-waiting image has waited for a slot.",
            ["model"],
            registry=registry,
        )
        self.queues: defaultdict[str, list[Queue]] = defaultdict(list)  # one for each version
        self.rejections = counters(
            "emo_rejections",
            "Images refused before any work was done, by reason.",
            ["model", "reason"],
            registry,
        )
        self.cancelled = counters("emo_cancelled", "Images whose client left before the answer.", ["model"], registry)
        self.inflight_bytes = Gauge(
            "emo_inflight_bytes", "Bytes of the bodies that are being read or answered now.", registry=registry
        )
        lag = histograms(
            "emo_event_loop_lag_seconds",
            "Seconds by which the event loop ran a timer too late.",
            [],
            _LAG_BUCKETS,
            registry,
        )
        self.event_loop_lag = lag.labels()
        self.model_info = Gauge(
            "emo_model_info",
            "1 for every model that is served.",
            ["model", "version", "provider", "precision"],
            registry=registry,
        )

        self.served: Counts[tuple[str, str, str, str]] = Counts()  # labels of model_info -> number of deployments
        self.model_loads = counters(
            "emo_model_loads",
            "Versions that were to be loaded, by how that ended.",
            ["model", "outcome"],
            registry,
        )
        self.workers_ready = Gauge("emo_workers_ready", "Processes that take requests now.", registry=registry)
        self.workers_configured = Gauge(
            "emo_workers_configured", "Processes that should take requests.", registry=registry
        )
        self.memory_limit = Gauge(
            "emo_memory_limit_bytes",
            "Bytes that all processes together may use: the container's limit, or what the machine has.",
            registry=registry,
        )
        self._http = histograms(
            "emo_http_request_seconds",
            "Seconds from the head of a request to the end of its answer.",
            ["method", "route", "status"],
            _STAGE_BUCKETS,
            registry,
        )
        self._http_series: dict[tuple[str, str, int], Histogram] = {}
        self.predicted_score = histograms(
            "emo_predicted_score",
            "Score of the best class of an image, or of each object in it.",
            ["model"],
            _SCORE_BUCKETS,
            registry,
        )
        self.predicted_classes = counters(
            "emo_predicted_classes",
            "Images by their best class, or objects by theirs.",
            ["model", "class"],
            registry,
        )
        self.detections = histograms(
            "emo_detections_per_image",
            "Objects found in an image.",
            ["model"],
            _DETECTION_BUCKETS,
            registry,
        )
        self.traffic = TrafficMetrics(registry, _STAGE_BUCKETS, _SCORE_BUCKETS)

    def answered(self, method: str, route: str, status: int | None, seconds: float) -> None:
        """Count one HTTP request; ``route`` is a template, ``status`` None if the client had gone."""
        key = _http_key(method, route, status)
        if key not in self._http_series:
            self._http_series[key] = self._http.labels(key[0], route, f"{key[2]}xx" if status else "none")
        self._http_series[key].observe(seconds)

    def exemplify_http(self, method: str, route: str, status: int | None, seconds: float, trace_id: str) -> None:
        """Let a trace stand as an example for a request that was counted as ``answered``."""
        self._http_series[_http_key(method, route, status)].exemplify(seconds, trace_id)

    def exemplify_stages(self, model: str, stages: Mapping[str, float], trace_id: str) -> None:
        """Let a trace stand as an example for an image of the model that was answered."""
        for stage, seconds in stages.items():
            self.stages.labels(model, stage).exemplify(seconds, trace_id)

    def for_model(self, model: str, task: str) -> "ModelMetrics":
        """The metrics of one model, its labels filled in."""
        return ModelMetrics(self, model, task)

    def run_totals(self) -> tuple[float, float]:
        """Seconds that all runs should have taken, by the measurement at start, and those that they took."""
        expected, taken = self.expected_run_seconds.values(), self.run_seconds.values()
        return sum(total.value for total in expected), sum(total.value for total in taken)

    def loaded(self, model: str, outcome: Literal["ok", "failed"]) -> None:
        """Count an attempt to load a version; ``model`` is the name of a folder of the repository."""
        self.model_loads.labels(model, outcome).value += 1

    async def measure_event_loop_lag(self) -> None:
        """Measure, for ever, how late the event loop runs a timer."""
        while True:
            due = time.perf_counter() + _LAG_INTERVAL_SECONDS
            await asyncio.sleep(_LAG_INTERVAL_SECONDS)
            self.event_loop_lag.observe(max(0.0, time.perf_counter() - due))


def _http_key(method: str, route: str, status: int | None) -> tuple[str, str, int]:
    return method if method in METHODS else OTHER, route, (status or 0) // 100


class ModelMetrics:
    """The metrics of one model; cheap to call from the event loop."""

    def __init__(self, metrics: Metrics, model: str, task: str) -> None:
        """Fill in the labels, so that every series of the model exists, at 0, from the start."""
        self._metrics = metrics
        self._model = model
        self._task = task
        self._batch_size = metrics.batch_size.labels(model)
        self._run_seconds = metrics.run_seconds.labels(model)
        self._expected_run_seconds = metrics.expected_run_seconds.labels(model)
        queues = metrics.queues[model]
        metrics.queue_depth.labels(model).set_function(lambda: sum(queue.depth() for queue in queues))
        metrics.queue_age.labels(model).set_function(lambda: max((queue.age() for queue in queues), default=0.0))
        self._queues = queues
        self._cancelled = metrics.cancelled.labels(model)
        metrics.requests.labels(model, task, "ok")
        self._outcomes: dict[str, Total] = {}  # looking a series up costs more than counting in it
        self._stages: dict[str, Histogram] = {}
        self._classes: dict[int, Total] = {}
        self._score = metrics.predicted_score.labels(model)
        self._detections = metrics.detections.labels(model) if task == "detect" else None

    def served(self, version: str, provider: str, precision: str) -> None:
        """Report this version as served."""
        labels = (self._model, version, provider, precision)
        self._metrics.served[labels] += 1
        self._metrics.model_info.labels(*labels).set(1)

    def retired(self, version: str, provider: str, precision: str) -> None:
        """Report this version as no longer served, unless it was loaded again meanwhile."""
        labels = (self._model, version, provider, precision)
        self._metrics.served[labels] -= 1
        if not self._metrics.served[labels]:
            del self._metrics.served[labels]
            self._metrics.model_info.remove(*labels)

    def watch(self, queue: Queue) -> None:
        """Include the queue in each scrape; over several versions images are summed, and the longest wait counts."""
        self._queues.append(queue)

    def unwatch(self, queue: Queue) -> None:
        """Stop including the queue, as this version of the model has ended."""
        self._queues.remove(queue)

    def ran(self, size: int, seconds: float, expected: float) -> None:
        """Count one run of the model over ``size`` images, its seconds, and those that it was expected to take."""
        self._batch_size.observe(size)
        self._run_seconds.value += seconds
        self._expected_run_seconds.value += expected

    def finished(self, outcome: Outcome) -> None:
        """Count one image by its outcome."""
        if outcome not in self._outcomes:
            self._outcomes[outcome] = self._metrics.requests.labels(self._model, self._task, outcome)
        self._outcomes[outcome].value += 1
        if outcome == "cancelled":
            self._cancelled.value += 1

    def rejected(self, reason: Reason) -> None:
        """Count one image that the model did not accept."""
        self._metrics.rejections.labels(self._model, reason).value += 1

    def answered(
        self,
        stages: Mapping[str, float],
        found: tuple[Sequence[int], Sequence[float]] | None = None,
        names: Sequence[str] = (),
    ) -> None:
        """Count one answered image, the seconds of each stage (``Timings.stages``), and what was ``found`` in it."""
        self.finished("ok")
        if found is not None:
            self.found(*found, names)
        for stage, seconds in stages.items():
            if stage not in self._stages:
                self._stages[stage] = self._metrics.stages.labels(self._model, stage)
            self._stages[stage].observe(seconds)

    def found(self, labels: Sequence[int], scores: Sequence[float], names: Sequence[str]) -> None:
        """Count the predictions for one image: its best class, or all objects; ``names`` are those of all classes.

        Classes from number ``MAX_CLASSES`` on are counted together, to bound the number of series.
        """
        for label, score in zip(labels, scores, strict=True):
            if label not in self._classes:
                name = names[label] if label < MAX_CLASSES else OTHER
                self._classes[label] = self._metrics.predicted_classes.labels(self._model, name)
            self._classes[label].value += 1
            self._score.observe(score)
        if self._detections is not None:
            self._detections.observe(len(labels))
