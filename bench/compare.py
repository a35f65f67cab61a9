"""This server beside its peers, one loaded at a time, in turns, on the same machine in the same minutes.

    python -m bench.compare photo.jpg --model emo_1m [--stock theirs.onnx] [--rounds 3] [--seconds 3] [--served-graph]

All are up and answer the same photo with the same weights; those that are not measured are held still. In each round
each is measured at every number of clients, and so is what the cores do without HTTP (``bench.ceiling``); the order
turns around from round to round. Then requests come by chance at half and at four fifths of what each can do, and from
512 clients at once. Peers have a stock export (``bench.models`` says which) and plain Pillow, or, with
``--served-graph``, our graph and pixels. All is written to a file in ``.bench``, of which ``bench.report`` makes tables
and plots.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import onnxruntime
import PIL
from tqdm import tqdm

from bench.servers import ENVIRONMENTS, OURS, ROOT, Server, installed, version
from emo.models.names import model_name
from emo_serve.manifest import sha256_of

MODELS = ENVIRONMENTS / "models"
CLIENTS = (1, 8, 32, 64)
REFERENCE_CLIENTS = 32
MANY = 512
SHARES = (0.5, 0.8)
IDLE_SECONDS = 3.0
LIMIT = "limit"


def main() -> None:
    """Start all, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--model", type=model_name, default="emo_1m")
    parser.add_argument("--stock", type=Path, help="an ONNX file of the same network, which the peers serve")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of one measurement")
    parser.add_argument("--served-graph", action="store_true", help="give the peers our graph and our pixels")
    parser.add_argument("--only", nargs="+", choices=installed(), help="these peers; all that are installed without it")
    parser.add_argument("--clients", nargs="+", type=int, default=list(CLIENTS), help="in the closed loop")
    parser.add_argument("--quick", action="store_true", help="the closed loop only")
    options = parser.parse_args()
    options.models = models_of(options)
    command = [sys.executable, "-m", "bench.models", options.model, str(options.models)]
    command += ["--stock", str(options.stock.resolve())] if options.stock else []
    subprocess.run(command, cwd=ROOT, check=True)
    names = [OURS, *(name for name in installed() if name != OURS and name in (options.only or installed()))]
    results: dict[str, Any] = {"about": about(options, names), "servers": {}}
    servers: list[Server] = []
    try:
        for place, name in enumerate(names):
            servers.append(start(name, 8500 + place, options, results["servers"]))
        check_agreement(servers)
        closed_loop(servers, options, results)
        if not options.quick:
            by_chance(servers, options, results["servers"])
            many_clients(servers, options.seconds, results["servers"])
    finally:
        for server in servers:
            server.stop()
    target = ENVIRONMENTS / f"results-{options.models.name}{'-served' if options.served_graph else ''}.json"
    target.write_text(json.dumps(results, indent=1), encoding="utf-8")
    print(f"written to {target.relative_to(ROOT)}: python -m bench.report {target.relative_to(ROOT)}")


def about(options: argparse.Namespace, names: list[str]) -> dict[str, Any]:
    """The setup of the measurement."""
    return {
        "model": options.model,
        "photo": f"{options.photo.name}, {options.photo.stat().st_size} bytes",
        "stock": options.stock.name if options.stock else "of our own model",
        "peers have": "our graph and pixels" if options.served_graph else "the stock export and plain Pillow",
        "versions": {name: version(name) for name in names},
        "runtime": f"ONNX Runtime {onnxruntime.__version__}, Pillow {PIL.__version__}",
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "date": datetime.now(UTC).date().isoformat(),
        "rounds": options.rounds,
        "seconds": options.seconds,
    }


def start(name: str, port: int, options: argparse.Namespace, results: dict[str, Any]) -> Server:
    """Start one; note how long that takes, without what it measures the first time, and what it costs to do nothing."""
    if name == OURS:  # its first start on a machine measures how to run best, and remembers it
        first = server_of(name, port, options)
        first.wait()
        first.stop()
    server = server_of(name, port, options)
    results[name] = {"start_seconds": server.wait(), "closed": {}}
    server.load(8, 1.0)
    before = server.cpu_seconds()
    time.sleep(IDLE_SECONDS)
    results[name]["idle_cores"] = (server.cpu_seconds() - before) / IDLE_SECONDS
    with server.awake():
        pass
    return server


def server_of(name: str, port: int, options: argparse.Namespace) -> Server:
    """The server of this name, starting."""
    return Server(name, port, options.model, options.models, options.photo, served_graph=options.served_graph)


def models_of(options: argparse.Namespace) -> Path:
    """A repository with this model only."""
    digest = f"-{sha256_of(options.stock)[:8]}" if options.stock else ""
    return MODELS / f"{options.model}{digest}"


def check_agreement(servers: list[Server]) -> None:
    """Raise RuntimeError unless all name the same class first: else they would not do the same work."""
    found = {}
    for server in servers:
        with server.awake():
            found[server.name] = best_class(server)
    if len(set(found.values())) > 1:
        msg = f"the answers differ: {found}"
        raise RuntimeError(msg)


def best_class(server: Server) -> int:
    """The first class of its answer."""
    answer = server.answer()
    answer = answer[0] if isinstance(answer, list) else answer
    classes = answer.get("classes") or answer["classifications"]
    return int(classes[0]["class_id"])


def closed_loop(servers: list[Server], options: argparse.Namespace, results: dict[str, Any]) -> None:
    """Throughput and times at each number of clients, and the limit, in turns."""
    with servers[0].awake():
        expected = f'"class_id":{best_class(servers[0])},'
    results[LIMIT] = []
    turns = [(server, clients) for clients in options.clients for server in servers]
    bar = tqdm(total=options.rounds * (len(turns) + 1), unit="slice", mininterval=2)
    for number in range(options.rounds):
        for server, clients in turns if number % 2 == 0 else reversed(turns):
            with server.awake():
                server.load(clients, 0.5)
                found = server.load(clients, options.seconds, expected=expected)
            results["servers"][server.name]["closed"].setdefault(str(clients), []).append(found)
            bar.update()
            if clients == REFERENCE_CLIENTS and server is servers[0]:
                results[LIMIT].append(limit(options))
                bar.update()
    bar.close()
    for server in servers:
        results["servers"][server.name]["memory_mib"] = server.memory_mib()


def limit(options: argparse.Namespace) -> dict[str, float]:
    """The result of ``bench.ceiling``."""
    model = options.models / options.model.replace("_", "-") / "1"
    command = [sys.executable, "-m", "bench.ceiling", str(model), str(options.photo.resolve())]
    command += ["--seconds", str(options.seconds), "--processes", str(len(os.sched_getaffinity(0)))]
    found: dict[str, float] = json.loads(
        subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    )
    return found


def by_chance(servers: list[Server], options: argparse.Namespace, results: dict[str, Any]) -> None:
    """Times at shares of the median throughput of each, in turns."""
    turns = [(share, server) for share in SHARES for server in servers]
    bar = tqdm(total=options.rounds * len(turns), desc="by chance", unit="slice", mininterval=2)
    for number in range(options.rounds):
        for share, server in turns if number % 2 == 0 else reversed(turns):
            closed = results[server.name]["closed"]
            peak = statistics.median(found["rate"] for found in closed[str(REFERENCE_CLIENTS)])
            with server.awake():
                found = server.load(256, 3 * options.seconds, rate=share * peak)
            results[server.name].setdefault(f"open_{share}", []).append(found)
            bar.update()
    bar.close()


def many_clients(servers: list[Server], seconds: float, results: dict[str, Any]) -> None:
    """512 connections at once."""
    for server in tqdm(servers, f"{MANY} clients", unit="server"):
        with server.awake():
            results[server.name]["many"] = server.load(MANY, 2 * seconds)
            results[server.name]["many"]["memory_mib"] = server.memory_mib()


if __name__ == "__main__":
    main()
