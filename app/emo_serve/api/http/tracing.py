"""OpenTelemetry's traces: one span for a request, with one below it for each stage of each image.

Loaded only where requests are traced, as it needs the extra ``otel``. The moments are noted for the metrics anyway, so
the spans of a request are made when it has ended; one thread of the process sends them, as many at a time as
OTEL_BSP_MAX_EXPORT_BATCH_SIZE says, and drops what a collector does not take in time.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import Thread

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    get_current_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue
from starlette.types import Scope

from emo_serve.api.http.exchange import Exchange
from emo_serve.errors import StartupError
from emo_serve.metrics.definitions import METHODS, Metrics
from emo_serve.version import installed_version
from emo_serve.vision.results import Timings

_FLUSH_SECONDS = 1.5  # at the end, for what has not been sent
_END_SECONDS = 0.5  # and for the thread, once it need not try again
_MOST_IMAGES = 32  # of a request whose stages have spans
_LEAST_WAIT_SECONDS = 1e-4  # for a batch; less is no wait
_SHOWN = 200  # characters of a path
_ALLOWED = {
    "OTEL_TRACES_EXPORTER": "otlp",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
}
_ABOUT_CLIENTS = ("opentelemetry.trace.span", "opentelemetry.trace.propagation.tracecontext")
"""Loggers that write a line for each malformed header, of which clients may send any number."""
_NAME = "service.name"
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_UNSET, _ERROR = Status(StatusCode.UNSET), Status(StatusCode.ERROR)


class _Resource(Resource):
    """That of all spans, by which they are grouped to be sent: looking each up must not write it as text."""

    __hash__ = object.__hash__


class Tracing:
    """Makes the spans of requests and has them sent; as OTEL_* variables say."""

    def __init__(self, metrics: Metrics) -> None:
        """Start the thread that sends; raises StartupError for variables that cannot be followed.

        Traces that are kept stand as exemplars in the ``metrics``.
        """
        for name, allowed in _ALLOWED.items():
            if os.environ.get(name, allowed) != allowed:
                msg = f"{name}={os.environ[name]}: allowed is {allowed}, which is meant without it, too."
                raise StartupError(msg)
        resource = Resource.create()
        if str(resource.attributes[_NAME]).startswith("unknown_service"):
            resource = resource.merge(Resource({_NAME: "emo-serve"}))
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        own: dict[str, AttributeValue] = {"service.version": installed_version(), "process.pid": os.getpid()}
        self.resource = _Resource({**resource.attributes, **own})
        self.metrics = metrics
        self.instrumentation_scope = InstrumentationScope("emo_serve", installed_version())
        self.new_span_id = provider.id_generator.generate_span_id
        self._new_trace_id = provider.id_generator.generate_trace_id
        self._sampler = provider.sampler
        self._propagator = TraceContextTextMapPropagator()
        for name in _ABOUT_CLIENTS:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            self._exporter = OTLPSpanExporter()
            self._processor = BatchSpanProcessor(self._exporter)
        except ValueError as error:
            msg = f"OpenTelemetry's variables: {error}"
            raise StartupError(msg) from error
        self.send: Callable[[ReadableSpan], None] = self._processor.on_end

    def start(self, scope: Scope, exchange: Exchange) -> "RequestTrace":
        """Trace a request, as part of the caller's trace if it has a ``traceparent``."""
        parent, context = INVALID_SPAN_CONTEXT, None
        if b"traceparent" in exchange.headers:
            given = {
                name: [value.decode("latin-1") for key, value in scope["headers"] if key == name.encode()]
                for name in ("traceparent", "tracestate")
            }
            context = self._propagator.extract(given)
            parent = get_current_span(context).get_span_context()
        trace_id = parent.trace_id or self._new_trace_id()
        sampling = self._sampler.should_sample(context, trace_id, scope["method"], SpanKind.SERVER)
        flags = _SAMPLED if sampling.decision is Decision.RECORD_AND_SAMPLE else TraceFlags.get_default()
        own = SpanContext(trace_id, self.new_span_id(), False, flags, sampling.trace_state)  # noqa: FBT003  its own signature
        return RequestTrace(self, own, parent if parent.is_valid else None, scope)

    async def close(self) -> None:
        """Send what there is, within 1.5 seconds; the rest is dropped, and no collector asked again."""
        thread = Thread(target=self._processor.shutdown, daemon=True)
        thread.start()
        await asyncio.to_thread(thread.join, _FLUSH_SECONDS)
        if thread.is_alive():
            await asyncio.to_thread(self._exporter.shutdown)  # else it would go on to try
            await asyncio.to_thread(thread.join, _END_SECONDS)


class RequestTrace:
    """The trace of one request."""

    __slots__ = ("_context", "_parent", "_scope", "_tracing", "header", "trace_id")

    def __init__(self, tracing: Tracing, context: SpanContext, parent: SpanContext | None, scope: Scope) -> None:
        """``context`` is that of the request's span, ``parent`` that of the caller's."""
        self.trace_id = f"{context.trace_id:032x}"
        value = f"00-{self.trace_id}-{context.span_id:016x}-{context.trace_flags:02x}"
        self.header = (b"traceresponse", value.encode())
        self._tracing = tracing
        self._context = context
        self._parent = parent
        self._scope = scope

    def end(self, exchange: Exchange, route: str, seconds: float) -> None:
        """Have the spans sent; nothing where the trace is not sampled."""
        if not self._context.trace_flags.sampled:
            return
        since = time.time_ns() - time.perf_counter_ns()  # the zero of perf_counter
        images = exchange.timings[:_MOST_IMAGES]
        model: dict[str, AttributeValue] = {}
        if exchange.manifest is not None:
            model["emo.model"] = exchange.manifest.name
        for timings in images:
            for stage, *moments in intervals(timings):
                attributes = {**model, "emo.batch_size": timings.batch_size} if stage == "infer" else model
                context = SpanContext(self._context.trace_id, self._tracing.new_span_id(), False, _SAMPLED)  # noqa: FBT003  its own signature
                self._send(stage, context, self._context, SpanKind.INTERNAL, attributes, [since, *moments])
        attributes = self._of_request(exchange, route)
        name = f"{attributes['http.request.method']} {route}"
        moments = [since, exchange.began, exchange.began + seconds]
        self._send(name, self._context, self._parent, SpanKind.SERVER, attributes, moments)
        metrics = self._tracing.metrics
        metrics.exemplify_http(self._scope["method"], route, exchange.status, seconds, self.trace_id)
        if exchange.manifest is not None:
            for timings in images:
                metrics.exemplify_stages(exchange.manifest.name, timings.stages, self.trace_id)

    def _of_request(self, exchange: Exchange, route: str) -> dict[str, AttributeValue]:
        attributes: dict[str, AttributeValue] = {
            "http.request.method": self._scope["method"] if self._scope["method"] in METHODS else "_OTHER",
            "http.route": route,
            "url.path": self._scope["path"][:_SHOWN],
            "url.scheme": self._scope["scheme"],
            "emo.request_id": exchange.request_id,
            "emo.images": len(exchange.timings),
        }
        if exchange.manifest is not None:
            attributes["emo.model"] = exchange.manifest.name
            attributes["emo.model_version"] = exchange.manifest.version
        if exchange.status is None:
            return {**attributes, "error.type": "disconnected"}
        if exchange.status >= 500:
            attributes["error.type"] = str(exchange.status)
        return {**attributes, "http.response.status_code": exchange.status}

    def _send(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        attributes: Mapping[str, AttributeValue],
        moments: Sequence[float],
    ) -> None:
        """``moments``: the zero of perf_counter in nanoseconds, and start and end in its seconds."""
        since, start, end = moments
        self._tracing.send(
            ReadableSpan(
                name,
                context,
                parent,
                self._tracing.resource,
                attributes,
                kind=kind,
                status=_ERROR if "error.type" in attributes else _UNSET,
                start_time=int(since + start * 1e9),
                end_time=int(since + end * 1e9),
                instrumentation_scope=self._tracing.instrumentation_scope,
            )
        )


def intervals(timings: Timings) -> Iterator[tuple[str, float, float]]:
    """(stage, start, end) of an image, by ``time.perf_counter()``; it may have waited twice, for a batch too."""
    starts, seconds = timings.starts, timings.stages
    yield "queue", starts["queue"], starts["decode"]
    yield "decode", starts["decode"], starts["preprocess"]
    prepared = starts["preprocess"] + seconds["preprocess"]
    yield "preprocess", starts["preprocess"], prepared
    if starts["infer"] - prepared > _LEAST_WAIT_SECONDS:
        yield "queue", prepared, starts["infer"]
    for stage in ("infer", "postprocess"):
        yield stage, starts[stage], starts[stage] + seconds[stage]
