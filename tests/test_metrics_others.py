"""Names that dashboards for Triton and KServe ask for."""

from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics_families
from prometheus_client.parser import text_string_to_metric_families as families_of

from emo_serve.metrics.definitions import Metrics
from emo_serve.metrics.merge import Snapshot, exposition, merge, open_metrics, snapshot
from emo_serve.metrics.others import with_names
from tests.serving import in_process, settings_for

STAGES = {"decode": 0.1, "preprocess": 0.2, "queue": 0.3, "infer": 0.4, "postprocess": 0.05, "total": 1.1}


def process(version: str) -> Snapshot:
    """What a process says that has computed three images in two runs, and could not answer some others."""
    metrics = Metrics()
    model = metrics.for_model("toy", "classify")
    model.served(version, "cpu", "float32")
    model.ran(2, 0.2, 0.2)
    model.ran(1, 0.1, 0.1)
    for _ in range(3):
        model.answered(STAGES)
    model.finished("invalid")
    model.finished("timeout")
    model.finished("failed")
    model.finished("cancelled")
    metrics.for_model("idle", "detect").served("1", "cpu", "float32")
    return snapshot(metrics.registry)


def values(text: str) -> dict[str, dict[str, float]]:
    """Sample name -> values by their labels, as text."""
    found: dict[str, dict[str, float]] = {}
    for family in families_of(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def test_tritons_names_say_what_ours_say_for_all_processes() -> None:
    both = with_names(merge([process("2"), process("10")]), ("triton",))
    found = values(exposition(both).decode())
    model = "model=toy,version=10"
    assert found["nv_inference_request_success"] == {model: 6, "model=idle,version=1": 0}
    assert found["nv_inference_request_failure"] == {
        "model=toy,reason=OTHER,version=10": 4,
        "model=toy,reason=BACKEND,version=10": 2,
        "model=toy,reason=CANCELED,version=10": 2,
    }
    assert (found["nv_inference_count"][model], found["nv_inference_exec_count"][model]) == (6, 4)
    assert found["nv_inference_pending_request_count"][model] == 0
    for name, seconds in (
        ("request", 1.1),
        ("queue", 0.3),
        ("compute_input", 0.3),
        ("compute_infer", 0.4),
        ("compute_output", 0.05),
    ):
        assert found[f"nv_inference_{name}_duration_us"] == {model: pytest.approx(6 * seconds * 1e6)}
    assert "request_predict_seconds_sum" not in found


def test_kserves_names_are_histograms_but_where_two_stages_are_one() -> None:
    found = values(exposition(with_names(process("1"), ("kserve",))).decode())
    assert found["request_predict_seconds_count"] == {"model_name=toy": 3}
    assert found["request_predict_seconds_bucket"]["le=0.25,model_name=toy"] == 0
    assert found["request_predict_seconds_bucket"]["le=0.5,model_name=toy"] == 3
    assert found["request_postprocess_seconds_sum"] == {"model_name=toy": pytest.approx(0.15)}
    assert found["request_preprocess_seconds_sum"] == {"model_name=toy": pytest.approx(0.9)}
    assert found["request_preprocess_seconds_count"] == {"model_name=toy": 3}
    assert "nv_inference_count" not in found


def test_they_are_openmetrics_too() -> None:
    text = open_metrics(with_names(process("1"), ("triton", "kserve"))).decode()
    names = {family.name for family in open_metrics_families(text)}  # type: ignore[no-untyped-call]
    assert {"nv_inference_count", "request_predict_seconds", "emo_stage_seconds"} <= names


@pytest.mark.anyio
async def test_the_setting_adds_them(tmp_path: Path) -> None:
    async with in_process(settings_for(tmp_path, metric_names=("triton",))) as (client, _):
        text = (await client.get("/metrics")).text
    assert 'nv_inference_request_success{model="toy-detector",version="1"} 0.0' in text
    assert "request_predict" not in text
