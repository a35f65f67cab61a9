"""Metrics under the names that dashboards for other servers ask for, made of ours when they are read.

They have no type, as the totals of those servers do not end as OpenMetrics wants it; rates of them are right.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType

from emo_serve.metrics.merge import Family, Sample, Snapshot
from emo_serve.setting_types import MetricNames

_REASONS = MappingProxyType(
    {"unavailable": "REJECTED", "cancelled": "CANCELED", "failed": "BACKEND", "invalid": "OTHER", "timeout": "OTHER"}
)
_MICROSECONDS = 1e6
Values = dict[str, float]


def with_names(families: Snapshot, names: MetricNames) -> Snapshot:
    """The metrics, and those under the names of other servers."""
    added = dict(families)
    for name in names:
        added |= dict(_MAKERS[name](families))
    return added


def _triton(families: Snapshot) -> Iterator[tuple[str, Family]]:
    """Triton's ``nv_inference_*``; an image counts as a request."""
    versions = _versions(families)

    def samples(name: str, values: Values, **more: str) -> list[Sample]:
        return [
            (name, {"model": model, "version": versions.get(model, ""), **more}, value, None)
            for model, value in values.items()
        ]

    def family(name: str, text: str, values: Values) -> tuple[str, Family]:
        return name, _untyped(text, samples(name, values))

    outcomes = {
        outcome: _by_model(families, "emo_requests", "_total", outcome=outcome) for outcome in ("ok", *_REASONS)
    }
    yield family("nv_inference_request_success", "Images that were answered.", outcomes["ok"])
    failure = "nv_inference_request_failure"
    rows: dict[tuple[str, str], float] = {}
    for outcome, reason in _REASONS.items():
        for model, value in outcomes[outcome].items():
            rows[model, reason] = rows.get((model, reason), 0.0) + value
    failed = [
        sample for (model, reason), value in rows.items() for sample in samples(failure, {model: value}, reason=reason)
    ]
    yield failure, _untyped("Images that were not answered.", failed)
    yield family("nv_inference_count", "Images that were computed.", _by_model(families, "emo_batch_size", "_sum"))
    yield family("nv_inference_exec_count", "Runs of the model.", _by_model(families, "emo_batch_size", "_count"))
    yield family("nv_inference_pending_request_count", "Images that wait.", _by_model(families, "emo_queue_depth", ""))
    for name, stages in (
        ("nv_inference_request_duration_us", ("total",)),
        ("nv_inference_queue_duration_us", ("queue",)),
        ("nv_inference_compute_input_duration_us", ("decode", "preprocess")),
        ("nv_inference_compute_infer_duration_us", ("infer",)),
        ("nv_inference_compute_output_duration_us", ("postprocess",)),
    ):
        seconds = _summed(_by_model(families, "emo_stage_seconds", "_sum", stage=stage) for stage in stages)
        values = {model: value * _MICROSECONDS for model, value in seconds.items()}
        yield family(name, f"Microseconds of {' and '.join(stages)}, of all answered images.", values)


def _kserve(families: Snapshot) -> Iterator[tuple[str, Family]]:
    """KServe's ``request_*_seconds``."""
    for name, stage in (("request_predict_seconds", "infer"), ("request_postprocess_seconds", "postprocess")):
        found = families.get("emo_stage_seconds")
        samples: list[Sample] = []
        for sample, labels, value, example in found["samples"] if found else ():
            if labels.get("stage") == stage:
                rest = {"model_name": labels["model"]} | ({"le": labels["le"]} if "le" in labels else {})
                samples.append((sample.replace("emo_stage_seconds", name), rest, value, example))
        yield name, Family(help=f"Seconds of {stage}, of an answered image.", type="histogram", samples=samples)
    name, rows = "request_preprocess_seconds", list[Sample]()
    for ending in ("_sum", "_count"):
        parts = [_by_model(families, "emo_stage_seconds", ending, stage=stage) for stage in ("decode", "preprocess")]
        values = _summed(parts) if ending == "_sum" else parts[0]
        rows += [(name + ending, {"model_name": model}, value, None) for model, value in values.items()]
    yield name, Family(help="Seconds of decode and preprocess, of all answered images.", type="summary", samples=rows)


_MAKERS: Mapping[str, Callable[[Snapshot], Iterator[tuple[str, Family]]]] = MappingProxyType(
    {"triton": _triton, "kserve": _kserve}
)


def _untyped(text: str, samples: list[Sample]) -> Family:
    return Family(help=text, type="unknown", samples=samples)


def _by_model(families: Snapshot, family: str, ending: str, **labels: str) -> Values:
    found: Values = {}
    if family in families:
        for sample, own, value, _ in families[family]["samples"]:
            if sample == family + ending and labels.items() <= own.items():
                found[own["model"]] = found.get(own["model"], 0.0) + value
    return found


def _summed(parts: Iterable[Values]) -> Values:
    sums: Values = {}
    for part in parts:
        for model, value in part.items():
            sums[model] = sums.get(model, 0.0) + value
    return sums


def _versions(families: Snapshot) -> dict[str, str]:
    """The highest version of each model: counters do not tell versions apart."""
    versions: dict[str, str] = {}
    if "emo_model_info" in families:
        for _, labels, _, _ in families["emo_model_info"]["samples"]:
            versions[labels["model"]] = max(versions.get(labels["model"], "0"), labels["version"], key=int)
    return versions
