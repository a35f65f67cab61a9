"""Merge of metrics: snapshots that processes exchange, and their combination.

Counters and histograms are summed. Most gauges are summed too; ``_info`` series, the longest wait, values that hold
for all workers and the start time are the same in every worker or have no meaningful sum.
"""

from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import TypedDict

from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_open_metrics
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

Example = tuple[str, float, float]
"""The id of a trace, its value, and when that was, in seconds since 1970."""
Sample = tuple[str, dict[str, str], float, Example | None]
"""Name, labels, value, exemplar. (Lists after a round trip through JSON.)"""


class Family(TypedDict):
    """One metric with all its series."""

    help: str
    type: str
    samples: list[Sample]


Snapshot = dict[str, Family]
"""All metrics of a process at one moment, by name; JSON-serializable."""

_TOTALS = ("counter", "histogram")
_NO_SUMS = ("emo_queue_age_seconds", "emo_workers_configured", "emo_memory_limit_bytes")


def snapshot(registry: Collector) -> Snapshot:
    """The current values in the registry."""
    return {
        metric.name: Family(
            help=metric.documentation,
            type=metric.type,
            samples=[
                (sample.name, dict(sample.labels), float(sample.value), _example(sample.exemplar))
                for sample in metric.samples
            ],
        )
        for metric in registry.collect()
    }


def exposition(families: Snapshot) -> bytes:
    """The snapshot in Prometheus' text format."""
    return generate_latest(_Collected(families))


def open_metrics(families: Snapshot) -> bytes:
    """The snapshot in the OpenMetrics format, with its exemplars."""
    text: bytes = generate_open_metrics(_Collected(families))  # type: ignore[no-untyped-call]
    return text


def merge(present: Iterable[Snapshot], past: Iterable[Snapshot] = ()) -> Snapshot:
    """One snapshot of several processes.

    ``past`` are snapshots of processes that have ended or do not respond: only their counters and histograms count, as
    a gauge describes the present.
    """
    merged: dict[str, tuple[Family, dict[tuple[str, ...], Sample]]] = {}
    for families in (*present, *map(totals, past)):
        for name, family in families.items():
            join = _joiner(name, family["type"])
            _, series = merged.setdefault(name, (family, {}))
            for sample_name, labels, value, example in family["samples"]:
                key = (sample_name, *(word for label in sorted(labels.items()) for word in label))
                if key in series:
                    _, _, other, other_example = series[key]
                    series[key] = (sample_name, labels, join(other, value), _newest(example, other_example))
                else:
                    series[key] = (sample_name, labels, value, example)
    return {
        name: Family(help=family["help"], type=family["type"], samples=list(series.values()))
        for name, (family, series) in merged.items()
    }


def totals(families: Snapshot) -> Snapshot:
    """The part of a snapshot that still holds after the process has ended: counters and histograms."""
    return {name: family for name, family in families.items() if family["type"] in _TOTALS}


def _example(exemplar: Exemplar | None) -> Example | None:
    return None if exemplar is None else (exemplar.labels["trace_id"], exemplar.value, float(exemplar.timestamp or 0))


def _newest(one: Example | None, other: Example | None) -> Example | None:
    return max(filter(None, (one, other)), key=itemgetter(2), default=None)


def _joiner(name: str, kind: str) -> Callable[[float, float], float]:
    if kind == "gauge" and (name.endswith("_info") or name in _NO_SUMS):
        return max
    if name == "process_start_time_seconds":
        return min
    return float.__add__


class _Collected(Collector):
    """A registry of fixed metrics for ``generate_latest``."""

    def __init__(self, families: Snapshot) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for name, family in self._families.items():
            metric = Metric(name, family["help"], family["type"])
            for sample_name, labels, value, example in family["samples"]:
                exemplar = None if example is None else Exemplar({"trace_id": example[0]}, *example[1:])
                metric.add_sample(sample_name, labels, value, exemplar=exemplar)
            yield metric
