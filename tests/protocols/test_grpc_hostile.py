"""Messages of gRPC that are wrong, or made to cost much: refused with a code that blames them, at little cost."""

import asyncio
import random
import resource
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest

from emo_serve.api.http.services import Services
from emo_serve.api.protocols.grpc_messages import MOST_FIELDS, size_of
from tests.protocols.grpc_calls import (
    SERVICE,
    Channel,
    StreamResponse,
    call,
    encoded,
    grpc_channel,
    infer,
    is_serving,
    of_pixels,
)
from tests.protocols.pictures import RED, pixels
from tests.protocols.test_fuzz import mutated
from tests.serving import free_port, in_process, settings_for
from tests.support import write_segmenter

pytestmark = pytest.mark.anyio

ROUNDS = 300
MIB = 1024 * 1024
Code = grpc.StatusCode
BLAMED = {Code.OK, Code.INVALID_ARGUMENT, Code.NOT_FOUND}


@pytest.fixture(scope="module")
async def served(
    anyio_backend: str,  # noqa: ARG001  makes anyio run this fixture
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[Channel, Services]]:
    models = tmp_path_factory.mktemp("models")
    settings = settings_for(
        models, max_request_bytes=16 * MIB, max_inflight_bytes=32 * MIB, max_images_per_request=4, grpc_port=free_port()
    )
    write_segmenter(models)
    async with in_process(settings) as (_, services), grpc_channel(services) as channel:
        yield channel, services


@pytest.fixture
def channel(served: tuple[Channel, Services]) -> Channel:
    return served[0]


async def code_of(channel: Channel, method: str, body: bytes) -> grpc.StatusCode:
    try:
        await call(channel, method, body)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return Code.OK


SEEDS = {
    "raw images": encoded(RED, RED),
    "images": encoded(RED, raw=False),
    "raw pixels": of_pixels(np.stack([pixels((1, 2, 3))])),
    "pixels": of_pixels(np.stack([pixels((1, 200, 3))]), raw=False),
    "objects": encoded(RED, model="toy-detector"),
}


@pytest.mark.parametrize("seed", SEEDS)
async def test_mutated_messages_are_answered_or_blamed(channel: Channel, seed: str) -> None:
    request = SEEDS[seed]
    if "pixels" not in seed:
        request.parameters["full_decode"].bool_param = True
    if request.model_name == "toy-classifier":
        request.outputs.add(name="scores").parameters["classification"].int64_param = 2
    body, random_, codes = request.SerializeToString(), random.Random(seed), set()
    for round_ in range(ROUNDS):
        sent = random_.randbytes(random_.randint(0, 300)) if round_ % 10 == 0 else mutated(random_, body)
        code = await code_of(channel, "ModelInfer", sent)
        assert code in BLAMED, (code, sent)
        codes.add(code)
    assert len(codes) > 1, "nothing was refused"


@pytest.mark.parametrize("method", ["ModelMetadata", "ModelReady", "RepositoryIndex", "ModelStatistics", "ServerLive"])
async def test_other_methods_bear_any_bytes(channel: Channel, method: str) -> None:
    random_ = random.Random(method)
    for _ in range(50):
        assert await code_of(channel, method, random_.randbytes(random_.randint(0, 200))) in BLAMED


@pytest.mark.parametrize(
    "piece",
    [b"\x2a\x00", b"\x3a\x00", b"\x32\x00", b"\x22\x00", b"\x2a\x02\x2a\x00", b"\x10\x00", b"\x82\x7d\x00"],
    ids=["inputs", "raw contents", "outputs", "parameters", "contents", "numbers", "unknown"],
)
async def test_millions_of_small_fields_are_refused_before_they_become_objects(channel: Channel, piece: bytes) -> None:
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    assert await code_of(channel, "ModelInfer", piece * (8 * MIB // len(piece))) == Code.INVALID_ARGUMENT
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # kB, not gigabytes
    assert time.process_time() - began < 2


@pytest.mark.parametrize("path", [b"\x1a", b"\x2a\x22", b"\x2a\x32"], ids=["shape", "numbers", "more"])
async def test_millions_of_packed_numbers_are_refused(channel: Channel, path: bytes) -> None:
    def nested(field: bytes, body: bytes) -> bytes:
        length, size = b"", len(body)
        while size > 0x7F:
            length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
        return field + length + bytes([size]) + body

    body = bytes(8 * MIB)
    for number in reversed(path):
        body = nested(bytes([number]), body)
    assert await code_of(channel, "ModelInfer", nested(b"\x2a", body)) == Code.INVALID_ARGUMENT


def test_the_size_of_a_message_leaves_out_what_is_copied_as_it_is() -> None:
    assert size_of(encoded(bytes(MIB)).SerializeToString()) < 20
    assert size_of(encoded(bytes(MIB), raw=False).SerializeToString()) < 20
    assert size_of(of_pixels(np.zeros((1, 100, 100, 3), np.uint8), raw=False).SerializeToString()) > 30_000
    assert MOST_FIELDS > 1000  # images that a request may have


async def test_more_messages_arrive_than_have_room_and_all_are_answered(served: tuple[Channel, Services]) -> None:
    channel, _ = served
    large = encoded(RED + bytes(8 * MIB))  # what follows a picture is not read
    answers = await asyncio.gather(*(infer(channel, large) for _ in range(12)), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert {error.code() for error in refused} <= {Code.UNAVAILABLE}
    assert len(refused) < len(answers)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of HTTP/2."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A header of HTTP/2 that refers to nothing."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


OPENING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"")


def call_head(flags: int, path: bytes, name: bytes, value: bytes) -> bytes:
    """A connection that begins with the head of a call, one header of which is given."""
    headers = {b":method": b"POST", b":scheme": b"http", b":path": path, b"content-type": b"application/grpc"}
    return OPENING + frame(1, flags, 1, b"".join(literal(*header) for header in [*headers.items(), (name, value)]))


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        bytes(1000),
        OPENING + frame(99, 255, 7, bytes(100)),
        call_head(4, b"/\xff\xfe/\xc3", b"te", b"trailers"),
        call_head(5, f"/{SERVICE}/ModelInfer".encode(), b"x-name", b"\xff\x00"),
    ],
    ids=["HTTP/1.1", "zeros", "unknown frames", "a path that is no text", "metadata that is no text"],
)
async def test_what_is_no_call_leaves_the_server_as_it_was(served: tuple[Channel, Services], sent: bytes) -> None:
    channel, services = served
    assert services.settings.grpc_port is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", services.settings.grpc_port)
    writer.write(sent)
    await asyncio.sleep(0.3)
    assert await is_serving(channel)
    writer.close()
    assert not reader.exception()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{services.settings.grpc_port}") as another:
        assert await is_serving(another)


async def test_a_call_without_a_message_and_one_with_two_are_no_fault_of_the_server(channel: Channel) -> None:
    stream = channel.stream_unary(f"/{SERVICE}/ModelInfer")
    body = encoded(RED).SerializeToString()

    async def messages(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield body

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream(messages(0), timeout=20)
    assert caught.value.code() == Code.INVALID_ARGUMENT
    await stream(messages(2), timeout=20)  # the first counts


@asynccontextmanager
async def silent_calls(channel: Channel, count: int) -> AsyncIterator[list[Any]]:
    """Calls without a message yet: half of them streams, which have had an answer, half of them of one message."""

    async def none() -> AsyncIterator[bytes]:
        await asyncio.sleep(600)
        yield b""

    calls = []
    for position in range(count):
        if position % 2:
            calls.append(channel.stream_unary(f"/{SERVICE}/ModelInfer")(none(), timeout=600))
            continue
        stream = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")()
        await stream.write(encoded(RED).SerializeToString())
        await stream.read()
        calls.append(stream)
    await asyncio.sleep(0.5)
    try:
        yield calls
    finally:
        for silent in calls:
            silent.cancel()


async def test_calls_that_stay_silent_keep_nobody_from_asking(channel: Channel) -> None:
    async with silent_calls(channel, 8) as calls:  # four times as many as have room
        answers = await asyncio.gather(*(infer(channel, encoded(RED)) for _ in range(4)))
        assert len(answers) == 4
        assert await is_serving(channel)
        ended = [silent for silent in calls if silent.done()]
        assert {await silent.code() for silent in ended} == {Code.UNAVAILABLE}
        assert "others were waiting" in str([await silent.details() for silent in ended])


async def test_a_silent_stream_goes_on_where_nobody_waits(channel: Channel) -> None:
    async with silent_calls(channel, 1) as (stream,):
        await asyncio.sleep(2)
        await infer(channel, encoded(RED))
        await stream.write(encoded(RED, id="later").SerializeToString())
        assert StreamResponse.FromString(await stream.read()).infer_response.id == "later"
