import json
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from emo_serve.metrics.definitions import Metrics, Queue
from emo_serve.metrics.merge import Snapshot, exposition, merge, snapshot
from emo_serve.metrics.process import SupervisorMetrics


def process(images: int, seconds: float = 0.2, queued: int = 0) -> Snapshot:
    """Snapshot of a process that answered so many images in so many seconds each, after a trip through JSON."""
    metrics = Metrics()
    model = metrics.for_model("toy", "classify")
    model.served("1", "cpu", "float32")
    model.watch(Queue(lambda: queued, lambda: 0.0))
    metrics.workers_configured.set(2)
    metrics.memory_limit.set(1e9)
    for _ in range(images):
        model.answered({"total": seconds})
    families: Snapshot = json.loads(json.dumps(snapshot(metrics.registry)))
    return families


def value(families: Snapshot, name: str, **labels: str) -> Any:  # noqa: ANN401  None where there is none
    for family in text_string_to_metric_families(exposition(families).decode()):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return sample.value
    return None


def test_counters_histograms_and_queues_are_added_up() -> None:
    both = merge([process(2, 0.2, queued=3), process(5, 20, queued=1)])
    assert value(both, "emo_requests_total", outcome="ok") == 7
    assert value(both, "emo_stage_seconds_count", stage="total") == 7
    assert value(both, "emo_stage_seconds_sum", stage="total") == pytest.approx(100.4)
    assert value(both, "emo_stage_seconds_bucket", stage="total", le="0.25") == 2
    assert value(both, "emo_stage_seconds_bucket", stage="total", le="+Inf") == 7
    assert value(both, "emo_queue_depth", model="toy") == 4


def test_what_is_the_same_in_every_process_is_not_added_up() -> None:
    both = merge([process(1), process(1)])
    assert value(both, "emo_model_info", model="toy") == 1
    assert value(both, "python_info") == 1
    assert value(both, "emo_workers_configured") == 2
    assert value(both, "emo_memory_limit_bytes") == 1e9
    one = process(1)
    assert value(merge([one, one]), "process_start_time_seconds") == value(one, "process_start_time_seconds")


def test_of_a_process_that_ended_what_it_counted_stays_and_its_gauges_go() -> None:
    past = merge([], [process(3, queued=2), process(1)])
    together = merge([process(5, queued=1)], [past])
    assert value(together, "emo_requests_total", outcome="ok") == 9
    assert value(together, "emo_queue_depth", model="toy") == 1


def test_a_series_that_one_process_alone_has_is_kept() -> None:
    metrics = Metrics()
    metrics.for_model("other", "detect").rejected("queue_full")
    both = merge([process(1), snapshot(metrics.registry)])
    assert value(both, "emo_rejections_total", model="other", reason="queue_full") == 1
    assert value(both, "emo_requests_total", model="toy", outcome="ok") == 1


def test_the_text_of_one_process_is_the_text_that_its_registry_gives() -> None:
    metrics = Metrics()
    metrics.for_model("toy", "classify").answered({"total": 0.1})
    own = [line for line in generate_latest(metrics.registry).decode().splitlines() if "emo_" in line]
    merged = exposition(merge([snapshot(metrics.registry)])).decode()
    assert [line for line in merged.splitlines() if "emo_" in line] == own


def test_memory_and_processor_time_are_those_of_the_workers_and_the_supervisor() -> None:
    worker, supervisor = process(1), snapshot(SupervisorMetrics().registry)
    together = merge([worker, worker, supervisor])
    for name in ("process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"):
        assert value(together, name) == pytest.approx(2 * value(worker, name) + value(supervisor, name))
    started = value(together, "process_start_time_seconds")
    assert started == min(value(worker, "process_start_time_seconds"), value(supervisor, "process_start_time_seconds"))
