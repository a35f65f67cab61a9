"""An OpenTelemetry collector in memory: OTLP over HTTP, in protobuf."""

import contextlib
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.serving import eventually

Value = str | int


@dataclass
class Collector:
    """What has been sent to it."""

    url: str
    requests: list[ExportTraceServiceRequest] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    """It answers while this is set."""

    def spans(self) -> list[Span]:
        resources = [entry for request in list(self.requests) for entry in request.resource_spans]
        return [span for entry in resources for scope in entry.scope_spans for span in scope.spans]

    def resources(self) -> list[dict[str, Value]]:
        return [read(entry.resource.attributes) for request in self.requests for entry in request.resource_spans]

    def wait_for(self, count: int) -> list[Span]:
        """The spans, once there are so many."""
        eventually(lambda: len(self.spans()) >= count)
        spans = self.spans()
        assert len(spans) == count, [span.name for span in spans]
        return spans


def read(attributes: Iterable[KeyValue]) -> dict[str, Value]:
    """Attributes of a span or resource as values."""
    found: dict[str, Value] = {}
    for entry in attributes:
        value = entry.value
        found[entry.key] = value.int_value if value.HasField("int_value") else value.string_value
    return found


@contextlib.contextmanager
def collecting(*, answers: bool = True) -> Iterator[Collector]:
    """Give a collector on a port of its own; it does not answer before its gate is opened unless it ``answers``."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.gate.wait(60)
            collector.requests.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector = Collector(f"http://127.0.0.1:{server.server_port}")
    if answers:
        collector.gate.set()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        collector.gate.set()
        server.shutdown()
        server.server_close()
        thread.join(10)
