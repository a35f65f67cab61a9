"""CPU time that HAProxy takes for a request, by the size of its body, and how many replicas it can serve.

    python -m bench.balancer [--replicas 100] [--seconds 5] [--rate 100]

Needs ``haproxy`` on PATH. It runs with docker/haproxy.cfg on one thread; behind it is a server that reads a body and
answers at once, as the replica of that many slots. ``--rate`` is what one replica answers in a second; the last
column is how many such replicas one core of HAProxy can serve.
"""

import argparse
import asyncio
import re
import resource
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from tests.load.clients import Post
from tests.load.generator import Load
from tests.serving import free_port

ROOT = Path(__file__).resolve().parents[1]
CLIENTS = 64
BODIES = (30_000, 100_000, 300_000)
HOST = "127.0.0.1"
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_ANSWER = b'{"classifications":[]}' + b" " * 500


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read requests, answer each."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_ANSWER)
    try:
        while True:
            request = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(request)
            await reader.readexactly(int(length[1]) if length else 0)
            writer.write(head + _ANSWER)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def _serve(ports: list[int]) -> None:
    """Serve as the replicas, for ever."""

    async def serve() -> None:
        server = await asyncio.start_server(_answer, HOST, 0)
        ports.append(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


def configuration(replicas: int, replica_port: int, port: int) -> str:
    """The shipped configuration, with one thread, so many replicas at one port, and no log."""
    text = (ROOT / "docker/haproxy.cfg").read_text(encoding="utf-8")
    text = re.sub(r"resolvers docker\n(?: .*\n)+", "", text).replace("bind :8000", f"bind {HOST}:{port}")
    text = (
        text.replace("    log stdout format raw local0 info\n", "    nbthread 1\n")
        .replace("    log global\n", "")
        .replace("    option httplog\n", "")
    )
    # A weight in the middle, and no checks: the server behind answers neither.
    slots = [f"    server app{number} {HOST}:{replica_port} weight 100\n" for number in range(replicas)]
    return re.sub(r" +server-template .*\n", "".join(slots), text)


def children_seconds() -> float:
    """CPU seconds of the processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Print a row for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rate", type=float, default=100)
    arguments = parser.parse_args()
    ports: list[int] = []
    threading.Thread(target=_serve, args=(ports,), daemon=True).start()
    port = free_port()
    while not ports:
        time.sleep(0.05)
    with tempfile.NamedTemporaryFile("w", suffix=".cfg") as file:
        file.write(configuration(arguments.replicas, ports[0], port))
        file.flush()
        print("| body | requests | CPU for one | one core serves | replicas |\n|---|---|---|---|---|")
        for size in BODIES:
            before = children_seconds()
            with subprocess.Popen(["haproxy", "-q", "-db", "-f", file.name]) as balancer:  # noqa: S607  the operator's own
                try:
                    time.sleep(1)
                    request = Post("/classify", bytes(size)).message()
                    result = Load((HOST, port), request, CLIENTS, b"").closed_loop(arguments.seconds)
                finally:
                    balancer.kill()
            count = sum(result.statuses.values())
            each = (children_seconds() - before) / count
            failed = count - result.statuses[200]
            asked = f"{count}, {failed} failed" if failed else str(count)
            capacity = f"{1 / each:.0f}/s | {1 / each / arguments.rate:.0f}"
            print(f"| {size // 1000} kB | {asked} | {each * 1000:.3f} ms | {capacity} |")


if __name__ == "__main__":
    main()
