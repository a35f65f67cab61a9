"""The statistics of the Open Inference Protocol, from the metrics that there are anyway."""

import asyncio
from collections.abc import Iterable
from typing import Any

from emo_serve.api.http.services import Services
from emo_serve.engine.registry.deployment import Deployment
from emo_serve.metrics.merge import Snapshot, snapshot

_STAGES = {
    "queue": ("queue",),
    "compute_input": ("decode", "preprocess"),
    "compute_infer": ("infer",),
    "compute_output": ("postprocess",),
}
"""The protocol's stages, and ours."""


async def statistics(services: Services, deployments: Iterable[Deployment]) -> list[dict[str, Any]]:
    """An entry for each deployment, of all workers together; versions of one model are counted together."""
    gather = services.gather_metrics
    if gather is None:
        found = await asyncio.to_thread(snapshot, services.metrics.registry)
    else:
        found = await gather()
    return [_entry(found, deployment.manifest.name, deployment.manifest.version) for deployment in deployments]


def _entry(found: Snapshot, model: str, version: str) -> dict[str, Any]:
    outcomes = _by_label(found, "emo_requests", "emo_requests_total", model, "outcome")
    seconds = _by_label(found, "emo_stage_seconds", "emo_stage_seconds_sum", model, "stage")
    runs = _by_label(found, "emo_batch_size", "emo_batch_size_count", model, "model").get(model, 0.0)
    answered = int(outcomes.pop("ok", 0))
    stages = {
        name: {"count": answered, "ns": round(sum(seconds.get(stage, 0.0) for stage in own) * 1e9)}
        for name, own in _STAGES.items()
    }
    return {
        "name": model,
        "version": version,
        "last_inference": 0,
        "inference_count": answered,
        "execution_count": int(runs),
        "inference_stats": {
            "success": {"count": answered, "ns": round(seconds.get("total", 0.0) * 1e9)},
            "fail": {"count": int(sum(outcomes.values())), "ns": 0},
            **stages,
            "cache_hit": {"count": 0, "ns": 0},
            "cache_miss": {"count": 0, "ns": 0},
        },
        "batch_stats": [],
    }


def _by_label(found: Snapshot, family: str, name: str, model: str, label: str) -> dict[str, float]:
    """The values of a model's series by one of their labels."""
    samples = found[family]["samples"] if family in found else []
    return {
        labels[label]: value for sample, labels, value, _ in samples if sample == name and labels.get("model") == model
    }
