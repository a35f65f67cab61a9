"""Cheap counters and histograms, which prometheus_client collects and writes like its own.

Its own classes check each value and lock each sum and bucket, which a process with one event loop does not need: the
dozen values that are counted for an image took a tenth of the event loop's time for a request.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString


class Total:
    """A counter; changed by one thread, collected by any."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0


class Histogram:
    """A histogram; observed by one thread, collected by any."""

    __slots__ = ("_bounds", "_counts", "_exemplars", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        """``bounds``: the upper bound of each bucket, ascending; one more bucket counts larger values."""
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._exemplars: dict[int, Exemplar] = {}

    def observe(self, value: float) -> None:
        """Count the value in the first bucket whose bound it does not exceed."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def exemplify(self, value: float, trace_id: str) -> None:
        """Let the trace stand as an example for the bucket of the value, in the place of the one before."""
        self._exemplars[bisect_left(self._bounds, value)] = Exemplar({"trace_id": trace_id}, value, time.time())

    def buckets(self) -> tuple[list[tuple[str, float] | tuple[str, float, Exemplar]], float]:
        """(bound, number of values that do not exceed it, exemplar), as in the text format; the sum of all values."""
        names = (*map(floatToGoString, self._bounds), "+Inf")
        exemplars = self._exemplars.copy()
        buckets = enumerate(zip(names, map(float, accumulate(self._counts)), strict=True))
        return [(*bucket, exemplars[n]) if n in exemplars else bucket for n, bucket in buckets], self._sum


S = TypeVar("S")


class Family(Collector, Generic[S]):
    """All series of one metric, one for each combination of label values."""

    def __init__(self, make: Callable[[], S], collect: Callable[[Iterable[tuple[tuple[str, ...], S]]], Metric]) -> None:
        self._make = make
        self._collect = collect
        self._series: dict[tuple[str, ...], S] = {}

    def labels(self, *values: str) -> S:
        """The series of these label values, created if there is none yet."""
        if values not in self._series:
            self._series[values] = self._make()
        return self._series[values]

    def values(self) -> Iterable[S]:
        """The series of all label values."""
        return self._series.values()

    def collect(self) -> Iterable[Metric]:
        """All series with their current values."""
        yield self._collect(list(self._series.items()))


def counters(name: str, documentation: str, labels: Sequence[str], registry: CollectorRegistry) -> Family[Total]:
    """Counters in the ``registry``; they are exposed as ``name_total``."""

    def collect(series: Iterable[tuple[tuple[str, ...], Total]]) -> Metric:
        family = CounterMetricFamily(name, documentation, labels=labels)
        for values, total in series:
            family.add_metric(values, total.value)
        return family

    return _registered(Family(Total, collect), registry)


def histograms(
    name: str, documentation: str, labels: Sequence[str], buckets: Sequence[float], registry: CollectorRegistry
) -> Family[Histogram]:
    """Histograms in the ``registry``; ``buckets`` are their upper bounds, ascending, without infinity."""
    bounds = tuple(map(float, buckets))

    def collect(series: Iterable[tuple[tuple[str, ...], Histogram]]) -> Metric:
        family = HistogramMetricFamily(name, documentation, labels=labels)
        for values, histogram in series:
            family.add_metric(values, *histogram.buckets())
        return family

    return _registered(Family(lambda: Histogram(bounds), collect), registry)


def _registered(family: Family[S], registry: CollectorRegistry) -> Family[S]:
    registry.register(family)
    return family
