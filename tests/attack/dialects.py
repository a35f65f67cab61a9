"""Bodies in other servers' protocols that are made to become much more than they are."""

import gzip
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from tests.attack.attacking import Finding, Neighbour, Server, attacked, cost_of, head

MB = 1_000_000
INFER = "/v2/models/toy-classifier/infer"


def _post(path: str, body: bytes, *headers: str) -> bytes:
    return head("POST", path, f"Content-Length: {len(body)}", "Connection: close", *headers) + body


def _values(count: int) -> bytes:
    entry = {"name": "image", "shape": [1, 32, 32, 3], "datatype": "UINT8", "data": [0] * count}
    return json.dumps({"inputs": [entry]}, separators=(",", ":")).encode()


def _elements(count: int) -> bytes:
    entry = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": count}}
    content = json.dumps({"inputs": [entry]}).encode()
    length = f"Inference-Header-Content-Length: {len(content)}"
    return _post(INFER, gzip.compress(content + bytes(count)), "Content-Encoding: gzip", length)


BODIES: Mapping[str, Callable[[], bytes]] = {
    "1 GB of zeros in a gzip of 1 MB": lambda: _post(INFER, gzip.compress(bytes(1000 * MB)), "Content-Encoding: gzip"),
    "a million values in JSON": lambda: _post(INFER, _values(MB)),
    "30 million values in JSON": lambda: _post(INFER, _values(30 * MB)),
    "a million empty objects": lambda: _post(
        "/v1/models/toy-classifier:predict", b'{"instances":[' + b"{}," * MB + b"0]}"
    ),
    "20 MB of nested arrays in a gzip of 90 kB": lambda: _post(
        INFER,
        gzip.compress(b'{"inputs":[' + b",".join([b"[" * 195 + b"]" * 195] * 51_000) + b"]}"),
        "Content-Encoding: gzip",
    ),
    "60 MB of elements without bytes in a gzip": lambda: _elements(60 * MB),
    "a million names of classes": lambda: _post(
        "/v1/models/toy-detector:predict",
        json.dumps({"instances": [{"b64": ""}], "parameters": {"classes": "x," * MB}}).encode(),
    ),
    "10 MB of brackets": lambda: _post("/models/toy-classifier", b"[" * 10 * MB, "Content-Type: application/json"),
    "a form of a million fields": lambda: _post(
        "/v1/vision/custom/list", b"a&" * MB, "Content-Type: application/x-www-form-urlencoded"
    ),
}


def growing_bodies(checkout: Path) -> list[Finding]:
    """Cost of each attack, and of the neighbour's requests meanwhile."""
    findings = []
    requests = {name: make() for name, make in BODIES.items()}  # before: it would keep the neighbour's thread waiting
    with attacked(checkout) as server, Neighbour(server) as neighbour:
        for name, request in requests.items():
            answers: list[bytes] = []
            cpu, memory = cost_of(server, partial(_ask, server, request, answers))
            is_refused = answers[0].startswith(b"HTTP/1.1 4")
            findings += [
                Finding(name, cpu, "s CPU", 1.0),
                Finding(f"{name}: memory", memory, "MB", 200),
                Finding(f"{name}: not refused", float(not is_refused), "", 0),
            ]
    return findings + neighbour.findings()


def _ask(server: Server, request: bytes, answers: list[bytes]) -> None:
    answers.append(server.asked(request))
