"""What a picture costs by each way to a model: the own route, the Open Inference Protocol over HTTP and gRPC.

    python bench/protocols.py photo.jpg [--requests 100] [--rounds 5]

Asks a server with one worker, in turns, so that what else the machine does hits all alike. Prints images a second and
CPU milliseconds of the server for each image, and the ratio of both to the own route's; on a busy machine only the
ratios tell anything. `jpeg` is the picture as it is, `pixels` what a client has decoded and resized itself.
"""

import argparse
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx
import numpy as np

from emo_serve.api.protocols.grpc_messages import message_class

MODEL, AT_A_TIME = "emo-1m", 4
_TICKS = os.sysconf("SC_CLK_TCK")
_Way = Callable[[], None]


@contextlib.contextmanager
def server() -> Iterator[tuple[int, str, str]]:
    """The process id of a server, and its addresses for HTTP and gRPC."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "emo_serve", "serve", "--port", "0", "--workers", "1", "--no-tune"]
    environment = os.environ | {"EMO_GRPC_PORT": str(port), "EMO_LOG_LEVEL": "warning"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout  # noqa: S101  it is a pipe
        url = process.stdout.readline().split(" at ")[1].split()[0]
        yield process.pid, url, f"127.0.0.1:{port}"
        process.terminate()


def cpu_seconds(process: int) -> float:
    """What it has used so far."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def ways(photo: bytes, client: httpx.Client, channel: grpc.Channel) -> dict[str, _Way]:
    """Each asks once."""
    shape = client.get(f"/v2/models/{MODEL}").json()["inputs"][0]["shape"][1:]
    pixels = np.random.default_rng(0).integers(0, 256, (1, *shape), np.uint8).tobytes()

    def message(datatype: str, sizes: list[int], raw: bytes) -> bytes:
        request = message_class("ModelInferRequest")(model_name=MODEL, raw_input_contents=[raw])
        request.inputs.add(name="images", datatype=datatype, shape=sizes)
        body: bytes = request.SerializeToString()
        return body

    infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    jpeg = message("BYTES", [1], len(photo).to_bytes(4, "little") + photo)
    uint8 = message("UINT8", [1, *shape], pixels)
    head = (
        f'{{"inputs":[{{"name":"images","datatype":"UINT8","shape":{[1, *shape]},'
        f'"parameters":{{"binary_data_size":{len(pixels)}}}}}],"parameters":{{"binary_data_output":true}}}}'
    ).encode()
    path, length = f"/v2/models/{MODEL}/infer", "Inference-Header-Content-Length"
    own = {"content-type": "image/jpeg"}
    return {
        "own route, jpeg": lambda: _ok(client.post("/classify", content=photo, headers=own)),
        "v2 HTTP, jpeg": lambda: _ok(client.post(path, content=photo, headers={length: "0"})),
        "v2 gRPC, jpeg": lambda: infer(jpeg),
        "v2 HTTP, pixels": lambda: _ok(client.post(path, content=head + pixels, headers={length: str(len(head))})),
        "v2 gRPC, pixels": lambda: infer(uint8),
    }


def _ok(answer: httpx.Response) -> None:
    answer.raise_for_status()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("photo", type=Path)
    parser.add_argument("--requests", type=int, default=100, help="of each way in a round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with (
        server() as (process, url, address),
        httpx.Client(base_url=url, timeout=60) as client,
        grpc.insecure_channel(address) as channel,
        ThreadPoolExecutor(AT_A_TIME) as pool,
    ):
        found: dict[str, list[tuple[float, float]]] = {}
        for round_ in range(options.rounds + 1):
            for name, ask in ways(options.photo.read_bytes(), client, channel).items():
                began, used = time.perf_counter(), cpu_seconds(process)
                list(pool.map(lambda _, ask=ask: ask(), range(options.requests)))
                seconds, cpu = time.perf_counter() - began, cpu_seconds(process) - used
                if round_:  # the first warms up
                    found.setdefault(name, []).append((options.requests / seconds, cpu / options.requests * 1000))
    (own_rate, own_cpu), *_ = medians = [
        [statistics.median(values) for values in zip(*rounds, strict=True)] for rounds in found.values()
    ]
    for name, (rate, cpu) in zip(found, medians, strict=True):
        print(f"{name:16} {rate:8.1f} images/s ({rate / own_rate:4.2f})   {cpu:6.2f} ms CPU ({cpu / own_cpu:4.2f})")


if __name__ == "__main__":
    main()
