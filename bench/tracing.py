"""What traces cost: CPU time of a request with and without them, in turns, with a collector that throws them away.

    python -m bench.tracing photo.jpg

Two servers with one worker each answer rounds of requests by turns; CPU time, unlike a rate, tells the same on a busy
machine. The collector's own time does not count.
"""

import argparse
import os
import statistics
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

_TICKS = os.sysconf("SC_CLK_TCK")
_WITHOUT = {"EMO_WORKERS": "1", "EMO_PORT": "0", "EMO_TUNE": "false", "EMO_BATCHING__MAX_BATCH_SIZE": "1"}


class _Sink(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _server(environment: dict[str, str], log: Path) -> Iterator[tuple[int, str]]:
    """The process id and the address of a server."""
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "emo_serve", "serve"],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | _WITHOUT | environment,
        ) as process,
    ):
        assert process.stdout is not None  # noqa: S101  it is a pipe
        port = process.stdout.readline().split("http://127.0.0.1:")[1].split(maxsplit=1)[0]
        try:
            yield process.pid, f"http://127.0.0.1:{port}/classify"
        finally:
            process.terminate()


def _cpu_seconds(process: int) -> float:
    user, system = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / _TICKS


def _round(process: int, url: str, photo: bytes, requests: int) -> float:
    """Milliseconds of CPU time of a request."""
    before = _cpu_seconds(process)
    for _ in range(requests):
        request = urllib.request.Request(url, photo, {"Content-Type": "image/jpeg"})  # noqa: S310  our own address
        urllib.request.urlopen(request).read()  # noqa: S310
    return (_cpu_seconds(process) - before) / requests * 1000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--requests", type=int, default=200)
    options = parser.parse_args()
    photo = options.photo.read_bytes()
    sink = ThreadingHTTPServer(("127.0.0.1", 0), _Sink)
    threading.Thread(target=sink.serve_forever, daemon=True).start()
    tracing = {"EMO_TRACING": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{sink.server_port}"}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        off, on = (
            stack.enter_context(_server(extra, folder / f"{number}.log")) for number, extra in enumerate(({}, tracing))
        )
        for server in (off, on):
            _round(*server, photo, options.requests)
        pairs = [
            (_round(*off, photo, options.requests), _round(*on, photo, options.requests)) for _ in range(options.rounds)
        ]
    without, with_traces = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(traced / plain for plain, traced in pairs)
    print(f"CPU ms a request: {without:.2f} without, {with_traces:.2f} with traces; ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
