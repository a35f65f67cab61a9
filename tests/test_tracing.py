"""Traces of requests, as a collector gets them over OTLP."""

import asyncio
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from emo_serve.errors import StartupError
from emo_serve.logs import JsonFormatter
from emo_serve.main import create_app
from emo_serve.settings import Batching
from tests.collector import Collector, collecting, read
from tests.serving import commanded, free_port, in_process, settings_for
from tests.support import encode_image, plain

pytestmark = pytest.mark.anyio

RED = encode_image(plain("red", 64, 48), "PNG")
PNG = {"Content-Type": "image/png"}
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"
STAGES = ["queue", "decode", "preprocess", "infer", "postprocess"]
OPEN_METRICS = {"Accept": "application/openmetrics-text; version=1.0.0, text/plain;q=0.5"}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as collector:
        _send_to(collector.url, monkeypatch)
        yield collector


def _send_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")


def _server_span(spans: list[Span]) -> Span:
    (span,) = [span for span in spans if span.kind == Span.SPAN_KIND_SERVER]
    return span


@pytest.mark.parametrize("batching", [Batching(max_batch_size=1), Batching(max_batch_size=4)])
async def test_a_request_is_a_span_of_its_callers_trace_with_its_stages_below(
    tmp_path: Path, collector: Collector, batching: Batching
) -> None:
    async with in_process(settings_for(tmp_path, tracing=True, batching=batching)) as (client, _):
        headers = PNG | {"traceparent": TRACEPARENT, "tracestate": "vendor=1", "X-Request-Id": "mine"}
        answer = await client.post("/classify", content=RED, headers=headers)
    spans = collector.spans()  # all were sent at the end
    assert answer.status_code == 200, answer.text
    server = _server_span(spans)
    assert (server.name, server.trace_id.hex(), server.parent_span_id.hex()) == ("POST /classify", TRACE, CALLER)
    assert (server.trace_state, server.status.code) == ("vendor=1", Status.STATUS_CODE_UNSET)
    assert answer.headers["traceresponse"] == f"00-{TRACE}-{server.span_id.hex()}-01"
    model = {"emo.model": "toy-classifier"}
    attributes = read(server.attributes)
    assert attributes == {
        "http.request.method": "POST",
        "http.route": "/classify",
        "http.response.status_code": 200,
        "url.path": "/classify",
        "url.scheme": "http",
        "emo.request_id": "mine",
        "emo.images": 1,
        "emo.model_version": "1",
        **model,
    }
    stages = sorted((span for span in spans if span is not server), key=lambda span: span.start_time_unix_nano)
    assert list(dict.fromkeys(span.name for span in stages)) == STAGES
    end = server.start_time_unix_nano
    for span in stages:
        assert (span.trace_id, span.parent_span_id) == (server.trace_id, server.span_id)
        assert read(span.attributes) == model | ({"emo.batch_size": 1} if span.name == "infer" else {})
        assert end <= span.start_time_unix_nano <= span.end_time_unix_nano <= server.end_time_unix_nano
        end = span.end_time_unix_nano
    assert abs(server.end_time_unix_nano / 1e9 - time.time()) < 60
    assert collector.resources()[0]["service.name"] == "emo-serve"


async def test_images_of_a_request_that_met_in_a_batch_say_so(tmp_path: Path, collector: Collector) -> None:
    batching = Batching(max_batch_size=4, instances=1, max_queue_delay_seconds=1)
    async with in_process(settings_for(tmp_path, tracing=True, batching=batching)) as (client, _):
        await client.post("/classify", files=[("file", RED)] * 12)
    sizes = [read(span.attributes)["emo.batch_size"] for span in collector.spans() if span.name == "infer"]
    assert len(sizes) == 12
    assert max(map(int, sizes)) > 1
    assert read(_server_span(collector.spans()).attributes)["emo.images"] == 12


@pytest.mark.parametrize(
    "traceparent", [None, "", "00-0-0-01", f"ff-{TRACE}-{CALLER}-01", f"00-{'0' * 32}-{CALLER}-01", "x" * 5000]
)
async def test_without_a_valid_parent_a_trace_begins_here(
    tmp_path: Path, collector: Collector, traceparent: str | None
) -> None:
    async with in_process(settings_for(tmp_path, tracing=True)) as (client, _):
        headers = {} if traceparent is None else {"traceparent": traceparent, "tracestate": "," * 600}
        answer = await client.get("/models/nothing", headers=headers)
    (span,) = collector.spans()
    assert span.parent_span_id == b""
    assert span.trace_id.hex() in answer.headers["traceresponse"]
    assert span.trace_id.hex() != TRACE
    assert (span.name, read(span.attributes)["http.response.status_code"]) == ("GET /models/{name}", 404)


async def test_what_the_caller_does_not_sample_is_not_sent(tmp_path: Path, collector: Collector) -> None:
    async with in_process(settings_for(tmp_path, tracing=True)) as (client, _):
        answer = await client.post("/classify", content=RED, headers=PNG | {"traceparent": TRACEPARENT[:-1] + "0"})
        assert answer.headers["traceresponse"].startswith(f"00-{TRACE}-")
        assert answer.headers["traceresponse"].endswith("-00")
        assert "trace_id" not in (await client.get("/metrics", headers=OPEN_METRICS)).text
    assert collector.spans() == []


async def test_opentelemetrys_own_variables_choose_what_is_sent_as_what(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    async with in_process(settings_for(tmp_path, tracing=True)) as (client, _):
        await client.post("/classify", content=RED, headers=PNG | {"traceparent": TRACEPARENT})
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "eyes")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    async with in_process(settings_for(tmp_path, tracing=True)) as (client, _):
        await client.post("/classify", content=RED, headers=PNG)
    assert len([span for span in collector.spans() if span.kind == Span.SPAN_KIND_SERVER]) == 1
    (resource,) = collector.resources()
    assert (resource["service.name"], resource["deployment.environment.name"]) == ("eyes", "test")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    async with in_process(settings_for(tmp_path, tracing=True)) as (client, _):
        assert "traceresponse" not in (await client.post("/classify", content=RED, headers=PNG)).headers


async def test_errors_of_the_server_are_errors_and_those_of_clients_are_not(
    tmp_path: Path, collector: Collector
) -> None:
    async with in_process(settings_for(tmp_path, tracing=True)) as (client, services):
        await client.post("/classify", content=b"no picture")
        services.bodies.take(services.settings.max_inflight_bytes)
        assert (await client.post("/classify", content=RED, headers=PNG)).status_code == 503
    invalid, refused = sorted(collector.spans(), key=lambda span: span.start_time_unix_nano)
    assert (invalid.status.code, refused.status.code) == (Status.STATUS_CODE_UNSET, Status.STATUS_CODE_ERROR)
    assert read(refused.attributes)["error.type"] == "503"
    assert read(refused.attributes)["emo.model"] == "toy-classifier"


async def test_a_protocol_of_another_server_is_traced_alike_and_probes_are_not(
    tmp_path: Path, collector: Collector
) -> None:
    async with in_process(settings_for(tmp_path, tracing=True)) as (client, _):
        await client.post("/v1/vision/detection", files={"image": RED})
        for path in ("/livez", "/readyz", "/metrics", "/v2/health/ready"):
            assert "traceresponse" not in (await client.get(path)).headers
    assert _server_span(collector.spans()).name == "POST /v1/vision/detection"
    assert set(STAGES) < {span.name for span in collector.spans()}


async def test_every_log_line_of_a_request_names_its_trace(
    tmp_path: Path, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    lines: list[dict[str, Any]] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(JsonFormatter().format(record)))

    caplog.set_level("INFO")
    handler = Lines()
    logging.getLogger("emo_serve").addHandler(handler)
    try:
        async with in_process(settings_for(tmp_path, tracing=True)) as (client, _):
            await client.post("/classify", content=RED, headers=PNG | {"traceparent": TRACEPARENT})
    finally:
        logging.getLogger("emo_serve").removeHandler(handler)
    (access,) = [line for line in lines if line["message"] == "request"]
    assert access["trace_id"] == TRACE
    assert all("trace_id" not in line for line in lines if line["message"] != "request")
    assert collector.spans()


async def test_latencies_have_traces_as_exemplars_where_openmetrics_is_asked_for(
    tmp_path: Path, collector: Collector
) -> None:
    async with in_process(settings_for(tmp_path, tracing=True)) as (client, _):
        await client.post("/classify", content=RED, headers=PNG | {"traceparent": TRACEPARENT})
        answer = await client.get("/metrics", headers=OPEN_METRICS)
        plain_text = await client.get("/metrics")
    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert plain_text.headers["content-type"].startswith("text/plain")
    assert TRACE not in plain_text.text
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}  # type: ignore[no-untyped-call]
    for name, labels in (
        ("emo_http_request_seconds", {"route": "/classify"}),
        ("emo_stage_seconds", {"stage": "infer"}),
    ):
        examples = [s.exemplar for s in families[name].samples if s.exemplar and labels.items() <= s.labels.items()]
        assert [exemplar.labels for exemplar in examples] == [{"trace_id": TRACE}]
    assert collector.spans()


def test_several_processes_trace_and_send_what_is_left_when_they_end(tmp_path: Path, collector: Collector) -> None:
    models = tmp_path / "models"
    models.mkdir()
    environment = {"EMO_TRACING": "true", "OTEL_BSP_SCHEDULE_DELAY": "60000"}
    with commanded(models, tmp_path / "log", 2, **environment) as command:
        with httpx.Client(timeout=60) as one, httpx.Client(timeout=60) as other:  # each worker has one's connection
            for number in range(8):
                headers = PNG | {"traceparent": f"00-{number + 1:032x}-{CALLER}-01"}
                client = (one, other)[number % 2]
                assert client.post(f"{command.url}/classify", content=RED, headers=headers).status_code == 200
        metrics = httpx.get(f"{command.url}/metrics", headers=OPEN_METRICS, timeout=60).text
        assert f'trace_id="{8:032x}"' in metrics
        assert not collector.spans()
        assert command.stop() == 0
    spans = [span for span in collector.spans() if span.kind == Span.SPAN_KIND_SERVER]
    assert {int.from_bytes(span.trace_id) for span in spans} == set(range(1, 9))
    assert len({resource["process.pid"] for resource in collector.resources()}) == 2


@pytest.mark.parametrize("is_there", [True, False])
async def test_a_collector_that_is_slow_or_down_costs_no_request_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    with collecting(answers=False) as collector:
        _send_to(collector.url if is_there else f"http://127.0.0.1:{free_port()}", monkeypatch)
        monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "16")
        monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
        async with in_process(settings_for(tmp_path, tracing=True)) as (client, _):
            answers = await asyncio.gather(*(client.post("/classify", content=RED, headers=PNG) for _ in range(40)))
            assert {answer.status_code for answer in answers} == {200}
            begun = time.monotonic()
        assert time.monotonic() - begun < 15  # 2 seconds for what was not sent, and the models
        if not is_there:  # nobody tries again after the end
            assert not [thread for thread in threading.enumerate() if thread.name.startswith("OtelBatch")]


def test_without_tracing_the_sdk_is_not_loaded(tmp_path: Path) -> None:
    settings_for(tmp_path)
    program = (
        "import sys; from pathlib import Path; from emo_serve.main import create_app; "
        "from emo_serve.settings import Settings; create_app(Settings(models=Path(sys.argv[1]))); "
        "print([name for name in sys.modules if name.startswith('opentelemetry.') and '.sdk' in name])"
    )
    result = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "allowed is http/protobuf"),
        ("OTEL_TRACES_EXPORTER", "jaeger", "allowed is otlp"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1", "max_queue_size"),
    ],
)
def test_variables_that_cannot_be_followed_are_named_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(StartupError, match=reason):
        create_app(settings_for(tmp_path, tracing=True))


def test_without_the_extra_the_start_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("emo_serve.api.http.tracing", "opentelemetry.sdk.trace"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(StartupError, match=r"emo-serve\[otel\]"):
        create_app(settings_for(tmp_path, tracing=True))
