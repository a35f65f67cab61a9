"""No request keeps the event loop from the others.

Judged by the CPU time of the loop's thread, so that a busy machine is no excuse and no fault.
"""

import asyncio
import base64
import io
import json
import random
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from emo_serve.settings import MIB
from tests.serving import Running, running, settings_for
from tests.support import encode_image, plain, write_segmenter
from tests.vision.files import encoded, with_scans

MAX_STEP_SECONDS = 0.05
ATTEMPTS = 3  # the garbage collector may fall into one of them; what blocks the loop does so each time

Body = dict[str, Any]


class StepMeter(selectors.DefaultSelector):
    """Keeps the longest CPU time between two waits of the event loop, which is one step of it."""

    def __init__(self) -> None:
        super().__init__()
        self.longest = 0.0
        self._began: float | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self._began is not None:
            self.longest = max(self.longest, time.thread_time() - self._began)
        events = super().select(timeout)
        self._began = time.thread_time()
        return events


@dataclass(frozen=True, slots=True)
class Metered:
    server: Running
    steps: StepMeter
    client: httpx.Client


@pytest.fixture(scope="module")
def metered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Metered]:
    steps = StepMeter()
    models = tmp_path_factory.mktemp("models")
    settings = settings_for(models)  # with the limits as they are by default
    write_segmenter(models)
    with (
        running(settings, loop_factory=lambda: asyncio.SelectorEventLoop(steps)) as server,
        httpx.Client(base_url=server.url, timeout=120) as client,
    ):
        yield Metered(server, steps, client)


def picture(image_format: str, width: int = 4000, height: int = 3000) -> bytes:
    """Twelve megapixels: noise in a tile, so that the file is large and quick to make."""
    tile = np.random.default_rng(1).integers(0, 255, (height // 10, width // 10, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(np.tile(tile, (10, 10, 1))).save(buffer, image_format, quality=80, compress_level=1)
    return buffer.getvalue()


def raw(content: bytes, **headers: str) -> Body:
    return {"content": content, "headers": {"content-type": "application/octet-stream", **headers}}


def as_json(*images: bytes) -> Body:
    return json_text(json.dumps({"images": [base64.b64encode(image).decode() for image in images]}).encode())


def json_text(text: bytes) -> Body:
    return {"content": text, "headers": {"content-type": "application/json"}}


def multipart(*images: bytes) -> Body:
    return {"files": [("file", ("photo", image, "image/png")) for image in images]}


def multipart_text(text: bytes) -> Body:
    content = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + text + b"\r\n--b--\r\n"
    return {"content": content, "headers": {"content-type": "multipart/form-data; boundary=b"}}


def long(text: str) -> str:
    return ",".join([text] * (LINE // (len(text) + 1)))


def random_bytes(size: int) -> bytes:
    return random.Random(1).randbytes(size)


SMALL = encode_image(plain("red"))
PROGRESSIVE = with_scans(encoded(Image.new("RGB", (600, 500)), "JPEG", progressive=True), 10_000)
LINE = 8000  # of the 8192 bytes that one of a head may have
LONGEST = 60 * MIB  # of the 64 that a request may have

REQUESTS: dict[str, tuple[str, str, Callable[[], Body]]] = {
    "root": ("GET", "/", dict),
    "live": ("GET", "/livez", dict),
    "ready": ("GET", "/readyz", dict),
    "metrics": ("GET", "/metrics", dict),
    "models": ("GET", "/models", dict),
    "a model": ("GET", "/models/toy-detector", dict),
    "documentation": ("GET", "/docs", dict),
    "a file of the page": ("GET", "/playground/main.js", dict),
    "description": ("GET", "/openapi.json", dict),
    "a small photo": ("POST", "/classify", lambda: raw(SMALL)),
    "a large jpeg": ("POST", "/classify", lambda: raw(picture("JPEG"))),
    "a large png": ("POST", "/detect", lambda: raw(picture("PNG"))),
    "the largest picture": ("POST", "/classify", lambda: raw(encoded(Image.new("1", (8000, 6200)), "PNG"))),
    "a large picture drawn as jpeg": ("POST", "/detect", lambda: raw(picture("JPEG"), accept="image/jpeg")),
    "a large picture drawn as png": ("POST", "/detect", lambda: raw(picture("JPEG", 2000, 1500), accept="image/png")),
    "a large picture segmented": ("POST", "/segment", lambda: raw(picture("JPEG"))),
    "the largest picture segmented": ("POST", "/segment", lambda: raw(encoded(Image.new("1", (8000, 6200)), "PNG"))),
    "a large map of labels": ("POST", "/segment", lambda: raw(picture("JPEG"), accept="image/png")),
    "a large overlay": ("POST", "/segment", lambda: raw(picture("JPEG", 2000, 1500), accept="image/jpeg")),
    "photos segmented in json": ("POST", "/segment", lambda: as_json(*[SMALL] * 32)),
    "a hostile jpeg": ("POST", "/classify", lambda: raw(PROGRESSIVE)),
    "the longest file": ("POST", "/classify", lambda: raw(random_bytes(20 * MIB))),
    "the longest body": ("POST", "/classify", lambda: raw(bytes(64 * MIB))),
    "the longest photo in json": ("POST", "/classify", lambda: as_json(random_bytes(20 * MIB))),
    "long photos in json": ("POST", "/detect", lambda: as_json(*[random_bytes(15 * MIB)] * 3)),
    "photos in json": ("POST", "/detect", lambda: as_json(*[SMALL] * 32)),
    "no base64": ("POST", "/classify", lambda: json_text(b'{"image":"' + b"!" * LONGEST + b'"}')),
    "json of many numbers": ("POST", "/classify", lambda: json_text(b'{"images":[' + b"1," * (LONGEST // 2) + b"1]}")),
    "json of many images": ("POST", "/classify", lambda: json_text(b'{"images":[' + b'"",' * (LONGEST // 3) + b'""]}')),
    "deep json": ("POST", "/classify", lambda: json_text(b"[" * LONGEST)),
    "long photos in multipart": ("POST", "/classify", lambda: multipart(*[random_bytes(20 * MIB)] * 3)),
    "photos in multipart": ("POST", "/detect", lambda: multipart(*[SMALL] * 32)),
    "almost boundaries": ("POST", "/classify", lambda: multipart_text(b"\r\n--" * (LONGEST // 4))),
    "too many parts": ("POST", "/classify", lambda: multipart(*[SMALL] * 1000)),
    "an unknown path": ("GET", "/nothing", dict),
    "a long parameter": ("POST", "/classify?model=" + "x" * LINE, lambda: raw(SMALL)),
    "many parameters": ("POST", "/detect?" + "classes=red&" * (LINE // 12), lambda: raw(SMALL)),
    "many names": ("POST", "/detect?" + "x&" * (LINE // 2), lambda: raw(SMALL)),
    "a target that is too long": ("POST", "/classify?model=" + "x" * 60_000, lambda: raw(SMALL)),
    "a long content type": (
        "POST",
        "/classify",
        lambda: raw(SMALL, **{"content-type": "multipart/form-data" + "; a=b" * (LINE // 5)}),
    ),
    "a long accept": ("POST", "/detect", lambda: raw(SMALL, accept=long("a/b;q=0.1"))),
    "a long key": ("POST", "/detect", lambda: raw(SMALL, authorization=long("Bearer"))),
    "a large head": ("GET", "/livez", lambda: {"headers": {f"x-{n}": "x" * (LINE - 10) for n in range(8)}}),
    "many headers": ("GET", "/livez", lambda: {"headers": {f"x-{n}": "x" for n in range(90)}}),
    "too many headers": ("GET", "/livez", lambda: {"headers": {f"x-{n}": "x" for n in range(2000)}}),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_no_step_of_the_event_loop_takes_long(metered: Metered, name: str) -> None:
    method, path, body = REQUESTS[name]
    given = body()
    longest = []
    for _ in range(ATTEMPTS):
        metered.steps.longest = 0.0
        response = metered.client.request(method, path, **given)
        assert response.status_code < 500
        metered.client.get("/livez")  # the step that sent the answer has ended
        longest.append(metered.steps.longest)
        if longest[-1] < MAX_STEP_SECONDS:
            return
    pytest.fail(f"a step of the event loop takes {min(longest):.3f} s of CPU time")


BODIES = {
    "chunks of a byte": b"1\r\nx\r\n" * 20_000,
    "a chunk of empty lines": b"f4240\r\n" + b"\r\n\r\n" * 250_000 + b"\r\n",
    "a chunk of what looks like last chunks": b"f4240\r\n" + b"0\r\n\r\n" * 200_000 + b"\r\n",
}


@pytest.mark.parametrize("name", BODIES)
def test_many_headers_and_a_body_in_many_pieces_cost_no_more_than_both_alone(metered: Metered, name: str) -> None:
    text = b"POST /classify HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
    text += b"".join(b"x-%d: x\r\n" % number for number in range(90)) + b"\r\n" + BODIES[name] + b"0\r\n\r\n"
    longest = []
    for _ in range(ATTEMPTS):
        metered.steps.longest = 0.0
        with socket.create_connection(("127.0.0.1", metered.server.port), 20) as connection:
            connection.sendall(text)
            assert connection.recv(20).startswith(b"HTTP/1.1 4")
        longest.append(metered.steps.longest)
    assert min(longest) < MAX_STEP_SECONDS


def test_no_route_is_left_out(metered: Metered) -> None:
    tried = {(method.lower(), path.split("?")[0]) for method, path, _ in REQUESTS.values()}
    paths: dict[str, dict[str, Any]] = metered.server.app.openapi()["paths"]
    routes = {(method, path.format(name="toy-detector")) for path, methods in paths.items() for method in methods}
    assert routes - tried == set()


def test_a_step_that_blocks_the_loop_is_noticed() -> None:
    async def block() -> None:
        await asyncio.sleep(0)
        end = time.thread_time() + 2 * MAX_STEP_SECONDS
        while time.thread_time() < end:
            pass
        await asyncio.sleep(0)

    steps = StepMeter()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(steps)) as runner:
        runner.run(block())
    assert steps.longest > MAX_STEP_SECONDS
