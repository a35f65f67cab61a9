import asyncio
import time

import pytest

from emo_serve.metrics.definitions import MAX_CLASSES, Metrics, Queue
from emo_serve.metrics.merge import exposition, snapshot

STAGES = {"decode": 0.002, "preprocess": 0.001, "queue": 0.0, "infer": 0.01, "postprocess": 0.0, "total": 0.013}


def exposed() -> tuple[Metrics, str]:
    metrics = Metrics()
    model = metrics.for_model("toy", "classify")
    model.served("1", "cpu", "float32")
    model.finished("cancelled")
    model.rejected("queue_full")
    model.ran(2, 0.2, 0.2)
    model.watch(Queue(lambda: 1, lambda: 0.5))
    model.watch(Queue(lambda: 2, lambda: 1.5))
    model.answered(STAGES)
    model.found([1], [0.75], ("cat", "dog"))
    metrics.for_model("finder", "detect").found([0, 0], [0.6, 0.4], ("car",))
    metrics.answered("POST", "/classify", 422, 0.02)
    metrics.answered("MINE", "other", 405, 0.02)
    metrics.answered("GET", "/models", None, 0.02)
    return metrics, exposition(snapshot(metrics.registry)).decode()


@pytest.mark.parametrize(
    "sample",
    [
        'emo_requests_total{model="toy",outcome="ok",task="classify"} 1.0',
        'emo_requests_total{model="toy",outcome="cancelled",task="classify"} 1.0',
        'emo_cancelled_total{model="toy"} 1.0',
        'emo_rejections_total{model="toy",reason="queue_full"} 1.0',
        'emo_batch_size_bucket{le="2.0",model="toy"} 1.0',
        'emo_queue_depth{model="toy"} 3.0',
        'emo_queue_age_seconds{model="toy"} 1.5',
        'emo_stage_seconds_sum{model="toy",stage="total"} 0.013',
        'emo_model_info{model="toy",precision="float32",provider="cpu",version="1"} 1.0',
        "process_resident_memory_bytes",
        "python_info",
        "emo_event_loop_lag_seconds_count 0.0",
        'emo_predicted_classes_total{class="dog",model="toy"} 1.0',
        'emo_predicted_classes_total{class="car",model="finder"} 2.0',
        'emo_predicted_score_bucket{le="0.7",model="toy"} 0.0',
        'emo_predicted_score_bucket{le="0.8",model="toy"} 1.0',
        'emo_predicted_score_sum{model="finder"} 1.0',
        'emo_detections_per_image_bucket{le="2.0",model="finder"} 1.0',
        'emo_http_request_seconds_count{method="POST",route="/classify",status="4xx"} 1.0',
        'emo_http_request_seconds_count{method="other",route="other",status="4xx"} 1.0',
        'emo_http_request_seconds_count{method="GET",route="/models",status="none"} 1.0',
    ],
)
def test_everything_counted_is_exposed(sample: str) -> None:
    assert sample in exposed()[1]


def test_every_metric_has_help_and_no_created_series() -> None:
    _, text = exposed()
    assert "_created" not in text
    kinds = [line.split() for line in text.splitlines() if line.startswith("# TYPE emo_")]
    assert len(kinds) == 25
    for _, _, name, kind in kinds:
        assert f"# HELP {name} " in text
        assert name.endswith("_total") == (kind == "counter")


def test_a_classifier_has_no_series_of_objects() -> None:
    assert 'emo_detections_per_image_bucket{le="2.0",model="toy"}' not in exposed()[1]


def test_classes_beyond_the_first_thousand_are_counted_together() -> None:
    metrics = Metrics()
    names = tuple(f"class {number}" for number in range(MAX_CLASSES + 50))
    model = metrics.for_model("toy", "classify")
    for label in range(len(names)):
        model.found([label], [0.5], names)
    lines = exposition(snapshot(metrics.registry)).decode().splitlines()
    series = [line for line in lines if line.startswith("emo_predicted_classes_total{")]
    assert len(series) == MAX_CLASSES + 1
    assert 'emo_predicted_classes_total{class="other",model="toy"} 50.0' in series


def test_two_servers_in_one_process_count_apart() -> None:
    metrics, _ = exposed()
    other = Metrics()
    other.for_model("toy", "classify")
    labels = {"model": "toy", "task": "classify", "outcome": "ok"}
    assert metrics.registry.get_sample_value("emo_requests_total", labels) == 1
    assert other.registry.get_sample_value("emo_requests_total", labels) == 0


@pytest.mark.anyio
async def test_a_blocked_event_loop_shows_as_lag() -> None:
    metrics = Metrics()
    task = asyncio.create_task(metrics.measure_event_loop_lag())
    await asyncio.sleep(0)
    time.sleep(0.5)  # noqa: ASYNC251  # the fault to be measured
    await asyncio.sleep(0.01)
    lag = metrics.registry.get_sample_value("emo_event_loop_lag_seconds_sum")
    assert lag is not None
    assert lag > 0.1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
