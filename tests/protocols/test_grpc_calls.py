"""Calls of gRPC that have a deadline, a key or no room, or outlast the server: they end with the code that says why."""

import asyncio
import hashlib
from pathlib import Path

import grpc
import grpc.aio
import pytest

from emo_serve.api.protocols.grpc_inference import ADAPTER, STREAM_PATH
from emo_serve.process.grpc_server import GrpcServer
from emo_serve.settings import Batching
from tests.protocols.grpc_calls import (
    SERVICE,
    StreamResponse,
    ask,
    encoded,
    grpc_channel,
    infer,
    is_serving,
    outputs_of,
    refused,
)
from tests.protocols.pictures import RED
from tests.serving import Gates, free_port, in_process, settings_for, until

pytestmark = pytest.mark.anyio

KEY = "a-key-of-alice"
Code = grpc.StatusCode


async def test_a_full_server_is_unavailable_and_says_when_to_come_back(
    tmp_path: Path,
) -> None:
    settings = settings_for(tmp_path, grpc_port=free_port())
    async with in_process(settings) as (_, services), grpc_channel(services) as channel:
        services.bodies.take(settings.max_inflight_bytes)
        error = await refused(infer(channel, encoded(RED)))
        services.bodies.give_back(settings.max_inflight_bytes)
    assert error.code() == Code.UNAVAILABLE
    trailing = dict(error.trailing_metadata())
    assert int(str(trailing["grpc-retry-pushback-ms"])) >= 1
    assert trailing["x-request-id"]


async def test_a_deadline_and_a_client_that_leaves_end_the_work(tmp_path: Path) -> None:
    gates = Gates()
    settings = settings_for(tmp_path, grpc_port=free_port(), batching=Batching(instances=1, max_batch_size=1))
    async with in_process(settings, gates.open_session) as (_, services), grpc_channel(services) as channel:
        session = gates.sessions["toy-classifier"]
        await infer(channel, encoded(RED))
        computed = session.computed
        session.gate.clear()
        waiting = asyncio.ensure_future(infer(channel, encoded(RED)))
        await until(lambda: session.waiting)
        late = await refused(infer(channel, encoded(RED), seconds=0.3))
        assert late.code() == Code.DEADLINE_EXCEEDED
        left = asyncio.ensure_future(infer(channel, encoded(RED)))
        await asyncio.sleep(0.2)
        left.cancel()
        await until(lambda: services.bodies.held <= len(RED) + 200)
        session.gate.set()
        assert outputs_of(await waiting)["scores"].shape[0] == 1
        assert session.computed == computed + 1


async def test_a_key_is_needed_as_over_http_and_counts_on_both_ports(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "keys").write_text(f"alice:{hashlib.sha256(KEY.encode()).hexdigest()}\n", encoding="utf-8")
    settings = settings_for(
        tmp_path / "models", api_keys_file=tmp_path / "keys", api_key_requests_per_second=3, grpc_port=free_port()
    )
    async with in_process(settings) as (client, services), grpc_channel(services) as channel:
        assert (await ask(channel, "ServerReady")).ready
        assert await is_serving(channel)
        for metadata in ((), (("authorization", "Bearer wrong"),)):
            error = await refused(infer(channel, encoded(RED), metadata=metadata))
            assert (error.code(), "API key" in (error.details() or "")) == (Code.UNAUTHENTICATED, True)
        await infer(channel, encoded(RED), metadata=(("authorization", f"Bearer {KEY}"),))
        await infer(channel, encoded(RED), metadata=(("x-api-key", KEY),))
        assert (await client.get("/models", headers={"X-API-Key": KEY})).status_code == 200
        error = await refused(infer(channel, encoded(RED), metadata=(("x-api-key", KEY),)))
        assert error.code() == Code.RESOURCE_EXHAUSTED


async def test_every_method_but_probes_needs_a_key_and_has_a_log_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    (tmp_path / "models").mkdir()
    (tmp_path / "keys").write_text(f"alice:{hashlib.sha256(KEY.encode()).hexdigest()}\n", encoding="utf-8")
    settings = settings_for(tmp_path / "models", api_keys_file=tmp_path / "keys", grpc_port=free_port())
    async with in_process(settings) as (_, services), grpc_channel(services) as channel:
        for route in ADAPTER.routes:
            if route.path == STREAM_PATH:
                continue
            asked = channel.unary_unary(route.path)(b"", timeout=20)
            if route.path in ADAPTER.open_paths:
                await asked
            else:
                assert (await refused(asked)).code() == Code.UNAUTHENTICATED, route.path
        logged = [record.__dict__["path"] for record in caplog.records if record.name == "emo_serve.access"]
        assert logged == [
            route.path for route in ADAPTER.routes if route.path not in (ADAPTER.open_paths | {STREAM_PATH})
        ]
        silent = channel.stream_stream(STREAM_PATH)(timeout=20)  # before it takes room for a message
        assert (await refused(silent.read())).code() == Code.UNAUTHENTICATED


async def test_a_stream_ends_where_the_server_stops(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, grpc_port=free_port())
    async with in_process(settings) as (_, services):
        server = GrpcServer(services)
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{settings.grpc_port}") as channel:
            stream = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")(timeout=20)
            await stream.write(encoded(RED).SerializeToString())
            assert StreamResponse.FromString(await stream.read()).error_message == ""
            stopping = asyncio.ensure_future(server.stop(10))
            error = await refused(stream.read())
            assert error.code() == Code.UNAVAILABLE
            await asyncio.wait_for(stopping, 5)


async def test_a_server_that_stops_is_not_ready_but_live(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, grpc_port=free_port())
    async with in_process(settings) as (_, services), grpc_channel(services) as channel:
        services.drain.set()
        assert (await ask(channel, "ServerLive")).live
        assert not (await ask(channel, "ServerReady")).ready
        assert not await is_serving(channel)
