"""Our counters are written as prometheus_client writes its own."""

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest

from emo_serve.metrics.counters import counters, histograms

BUCKETS = (0.5, 1, 2.5)
VALUES = (0.0, 0.5, 0.50001, 1.0, 2.0, 2.5, 3.0, 1e9)


@pytest.mark.parametrize("labels", [["model"], []])
def test_a_histogram_is_written_as_the_librarys_own(labels: list[str]) -> None:
    disable_created_metrics()  # type: ignore[no-untyped-call]
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    family = histograms("seconds", "Some.", labels, BUCKETS, ours)
    own = Histogram("seconds", "Some.", labels, buckets=BUCKETS, registry=theirs)
    names = ["a"] * len(labels)
    for value in VALUES:
        family.labels(*names).observe(value)
        (own.labels(*names) if names else own).observe(value)
    assert generate_latest(ours) == generate_latest(theirs)


def test_a_counter_is_written_as_the_librarys_own() -> None:
    disable_created_metrics()  # type: ignore[no-untyped-call]
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    family = counters("images", "Some.", ["model", "outcome"], ours)
    own = Counter("images", "Some.", ["model", "outcome"], registry=theirs)
    for outcome in ("ok", "failed", "ok"):
        family.labels("a", outcome).value += 1
        own.labels("a", outcome).inc()
    assert generate_latest(ours) == generate_latest(theirs)
    assert ours.get_sample_value("images_total", {"model": "a", "outcome": "ok"}) == 2


def test_a_series_exists_from_the_moment_it_is_asked_for() -> None:
    registry = CollectorRegistry()
    family = counters("images", "Some.", ["model"], registry)
    assert registry.get_sample_value("images_total", {"model": "a"}) is None
    assert family.labels("a") is family.labels("a")
    assert registry.get_sample_value("images_total", {"model": "a"}) == 0
