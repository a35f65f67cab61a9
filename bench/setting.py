"""What a setting costs: CPU time of a request with and without it.

    python -m bench.setting photo.jpg EMO_PROTOCOLS=
    python -m bench.setting photo.jpg EMO_TRACING=true

Two servers with one worker each answer rounds of requests by turns; CPU time, unlike a rate, tells the same on a busy
machine. Traces go to a collector that throws them away, whose own time does not count.
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
    """What its threads have used, in steps finer than the ticks of its own figure."""
    threads = Path(f"/proc/{process}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


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
    parser.add_argument("settings", nargs="+", metavar="NAME=VALUE")
    parser.add_argument("--rounds", type=int, default=150)
    parser.add_argument("--requests", type=int, default=20)
    options = parser.parse_args()
    photo = options.photo.read_bytes()
    sink = ThreadingHTTPServer(("127.0.0.1", 0), _Sink)
    threading.Thread(target=sink.serve_forever, daemon=True).start()
    settings = dict(setting.split("=", 1) for setting in options.settings)
    settings["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{sink.server_port}"
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        plain, changed = (
            stack.enter_context(_server(extra, folder / f"{number}.log")) for number, extra in enumerate(({}, settings))
        )
        for server in (plain, changed):
            _round(*server, photo, 200)
        pairs = []
        for number in range(options.rounds):
            order = (plain, changed) if number % 2 else (changed, plain)
            spent = {server: _round(*server, photo, options.requests) for server in order}
            pairs.append((spent[plain], spent[changed]))
    without, with_it = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(after / before for before, after in pairs)
    said = " ".join(options.settings)
    print(f"CPU ms a request: {without:.3f} without, {with_it:.3f} with {said}; ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
