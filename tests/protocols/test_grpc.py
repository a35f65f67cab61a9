"""The Open Inference Protocol over gRPC: a real server of gRPC and calls as its clients make them."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import numpy as np
import pytest

from emo_serve.api.http.services import Services
from emo_serve.api.protocols.grpc_inference import ADAPTER, STREAM_PATH
from emo_serve.api.protocols.grpc_messages import Message
from emo_serve.process.grpc_server import GrpcServer
from emo_serve.settings import Batching
from tests.protocols.grpc_calls import (
    SERVICE,
    Channel,
    InferRequest,
    StreamResponse,
    ask,
    call,
    encoded,
    grpc_channel,
    infer,
    is_serving,
    of_pixels,
    outputs_of,
)
from tests.protocols.pictures import BROKEN, GREEN, QUADRANTS, RED, own_answer, pixels
from tests.serving import Gates, free_port, in_process, settings_for, until
from tests.support import write_segmenter

pytestmark = pytest.mark.anyio

KEY = "a-key-of-alice"
Code = grpc.StatusCode


@pytest.fixture(scope="module")
async def served(
    anyio_backend: str,  # noqa: ARG001  makes anyio run this fixture
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[Channel, httpx.AsyncClient, Services]]:
    models = tmp_path_factory.mktemp("models")
    settings = settings_for(models, max_images_per_request=4, max_request_bytes=200_000, grpc_port=free_port())
    write_segmenter(models)
    async with in_process(settings) as (client, services), grpc_channel(services) as channel:
        yield channel, client, services


@pytest.fixture
def channel(served: tuple[Channel, httpx.AsyncClient, Services]) -> Channel:
    return served[0]


@pytest.fixture
def client(served: tuple[Channel, httpx.AsyncClient, Services]) -> httpx.AsyncClient:
    return served[1]


async def refused(answer: Any) -> grpc.aio.AioRpcError:  # noqa: ANN401  an awaitable
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answer
    return caught.value


# ---- answers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [True, False])
async def test_images_are_classified_as_by_the_own_route(
    channel: Channel, client: httpx.AsyncClient, raw: bool
) -> None:
    answer = await infer(channel, encoded(RED, GREEN, raw=raw, id="7"))
    assert (answer.model_name, answer.model_version, answer.id) == ("toy-classifier", "1", "7")
    assert bool(answer.raw_output_contents) == raw
    scores = outputs_of(answer)["scores"]
    for row, data in zip(scores, (RED, GREEN), strict=True):
        for entry in (await own_answer(client, "/classify?top_k=1000", data))["classifications"]:
            assert row[entry["class_id"]] == pytest.approx(entry["score"], abs=1e-6)


@pytest.mark.parametrize("raw", [True, False])
async def test_objects_and_class_maps_are_those_of_the_own_route(
    channel: Channel, client: httpx.AsyncClient, raw: bool
) -> None:
    found = outputs_of(await infer(channel, encoded(QUADRANTS, model="toy-detector", raw=raw)))
    expected = (await own_answer(client, "/detect", QUADRANTS))["detections"]
    assert found["num_detections"].tolist() == [len(expected)]
    for place, entry in enumerate(expected):
        assert found["detection_classes"][0, place] == entry["class_id"]
        assert found["detection_boxes"][0, place] == pytest.approx(entry["box"], abs=0.01)
    classes = outputs_of(await infer(channel, encoded(RED, model="toy-segmenter", raw=raw)))["class_map"]
    assert classes.shape == (1, 48, 64)


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("model", ["toy-classifier", "toy-detector"])
async def test_pixels_get_the_outputs_of_the_graph_as_over_http(
    channel: Channel, client: httpx.AsyncClient, model: str, raw: bool
) -> None:
    shape = (await client.get(f"/v2/models/{model}")).json()["inputs"][0]["shape"][1:]
    batch = np.stack([pixels((250, 3, 20), shape[0]), pixels((5, 130, 200), shape[0])])
    entry = {"name": "image", "shape": batch.shape, "datatype": "UINT8", "data": batch.ravel().tolist()}
    over_http = (await client.post(f"/v2/models/{model}/infer", json={"inputs": [entry]})).json()["outputs"]
    found = outputs_of(await infer(channel, of_pixels(batch, model, raw=raw)))
    assert list(found) == [output["name"] for output in over_http]
    for output in over_http:
        np.testing.assert_allclose(found[output["name"]].ravel(), output["data"], rtol=1e-6)


async def test_the_best_classes_come_as_texts_and_parameters_count(channel: Channel) -> None:
    request = encoded(RED)
    request.outputs.add(name="scores").parameters["classification"].int64_param = 1
    (text,) = (await infer(channel, request)).raw_output_contents
    assert text[4:].decode().endswith(":red")
    request = encoded(QUADRANTS, model="toy-detector")
    for name, kind, value in (("max_detections", "int64_param", 1), ("score_threshold", "double_param", 0.25)):
        setattr(request.parameters[name], kind, value)
    request.parameters["iou_threshold"].string_param = "0.5"
    assert outputs_of(await infer(channel, request))["num_detections"].tolist() == [1]


async def test_server_and_models_describe_themselves_as_over_http(channel: Channel, client: httpx.AsyncClient) -> None:
    assert (await ask(channel, "ServerLive")).live
    assert (await ask(channel, "ServerReady")).ready
    assert await is_serving(channel)
    assert await is_serving(channel, SERVICE)
    over_http = (await client.get("/v2")).json()
    assert list((await ask(channel, "ServerMetadata")).extensions) == over_http["extensions"]
    over_http = (await client.get("/v2/models/toy-detector")).json()
    metadata = await ask(channel, "ModelMetadata", name="toy-detector")
    assert [list(entry.shape) for entry in metadata.inputs] == [entry["shape"] for entry in over_http["inputs"]]
    assert [entry.name for entry in metadata.outputs] == [entry["name"] for entry in over_http["outputs"]]
    config = (await ask(channel, "ModelConfig", name="toy-detector")).config
    assert config.input[0].data_type == 2
    index = (await ask(channel, "RepositoryIndex", ready=True)).models
    assert {(entry.name, entry.state) for entry in index} == {
        (f"toy-{name}", "READY") for name in ("classifier", "detector", "segmenter")
    }
    for name, version, is_ready in (("toy-detector", "", True), ("toy-detector", "1", True), ("nothing", "", False)):
        assert (await ask(channel, "ModelReady", name=name, version=version)).ready == is_ready


async def test_statistics_and_metrics_count_calls_like_requests(
    channel: Channel, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    async def counted() -> int:
        (entry,) = (await ask(channel, "ModelStatistics", name="toy-classifier")).model_stats
        return int(entry.inference_count)

    before = await counted()
    with caplog.at_level("INFO"):
        await infer(channel, encoded(RED, GREEN))
    assert await counted() == before + 2
    exposition = (await client.get("/metrics")).text
    assert f'route="/{SERVICE}/ModelInfer"' in exposition
    (line,) = [record.__dict__ for record in caplog.records if record.name == "emo_serve.access"]
    assert (line["path"], line["status"], line["images"]) == (f"/{SERVICE}/ModelInfer", 200, 2)
    assert line["client"] == "127.0.0.1"


async def test_a_stream_is_answered_in_order_and_goes_on_after_an_error(channel: Channel) -> None:
    stream = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")(timeout=20)
    for number, data in enumerate((RED, BROKEN, GREEN)):
        await stream.write(encoded(data, id=str(number)).SerializeToString())
    await stream.done_writing()
    answers = [StreamResponse.FromString(content) async for content in stream]
    assert [answer.infer_response.id for answer in answers] == ["0", "", "2"]
    assert [bool(answer.error_message) for answer in answers] == [False, True, False]
    assert "decoded" in answers[1].error_message or "Image" in answers[1].error_message


# ---- errors --------------------------------------------------------------------------------------------------------


def changed(**fields: Any) -> Message:  # noqa: ANN401
    request = encoded(RED)
    for name, value in fields.items():
        setattr(request.inputs[0] if name == "datatype" else request, name, value)
    return request


def with_parameter(name: str, value: int) -> Message:
    request = encoded(RED)
    request.parameters[name].int64_param = value
    return request


def two_inputs() -> Message:
    request = encoded(RED)
    request.inputs.add(name="other", datatype="BYTES", shape=[1])
    return request


@pytest.mark.parametrize(
    ("request_", "code", "reason"),
    [
        (changed(model_name="nothing"), Code.NOT_FOUND, "toy-classifier"),
        (changed(model_version="9"), Code.NOT_FOUND, "1"),
        (changed(datatype="FP32"), Code.INVALID_ARGUMENT, "UINT8 [N"),
        (changed(id="x" * 2000), Code.INVALID_ARGUMENT, "1000"),
        (encoded(BROKEN), Code.INVALID_ARGUMENT, ""),
        (encoded(RED, BROKEN), Code.INVALID_ARGUMENT, "Image 1"),
        (encoded(*[RED] * 5), Code.INVALID_ARGUMENT, "1 to 4"),
        (encoded(b"http://127.0.0.1:9/cat.jpg"), Code.INVALID_ARGUMENT, "JPEG"),
        (two_inputs(), Code.INVALID_ARGUMENT, "the model has one"),
        (InferRequest(model_name="toy-classifier"), Code.INVALID_ARGUMENT, "the model has one"),
        (with_parameter("nothing", 1), Code.INVALID_ARGUMENT, "full_decode"),
    ],
)
async def test_what_is_wrong_with_a_request_is_named(
    channel: Channel, request_: Message, code: grpc.StatusCode, reason: str
) -> None:
    error = await refused(infer(channel, request_))
    assert (error.code(), reason in (error.details() or "")) == (code, True), error.details()


async def test_what_cannot_be_asked_has_a_code_that_says_so(channel: Channel) -> None:
    error = await refused(ask(channel, "RepositoryModelLoad", model_name="toy-classifier"))
    assert (error.code(), "administration" in (error.details() or "")) == (Code.PERMISSION_DENIED, True)
    assert (await refused(call(channel, "ModelTrain", b""))).code() == Code.UNIMPLEMENTED
    assert (await refused(is_serving(channel, "other"))).code() == Code.NOT_FOUND
    too_large = await refused(infer(channel, encoded(bytes(200_001))))
    assert too_large.code() == Code.RESOURCE_EXHAUSTED
    squeezed = channel.unary_unary(f"/{SERVICE}/ModelInfer")
    error = await refused(squeezed(encoded(RED).SerializeToString(), compression=grpc.Compression.Gzip, timeout=20))
    assert error.code() == Code.UNIMPLEMENTED


async def test_a_full_server_is_unavailable_and_says_when_to_come_back(
    served: tuple[Channel, httpx.AsyncClient, Services],
) -> None:
    channel, _, services = served
    taken = services.settings.max_inflight_bytes - services.bodies.held
    services.bodies.take(taken)
    try:
        error = await refused(infer(channel, encoded(RED)))
    finally:
        services.bodies.give_back(taken)
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


async def test_every_method_but_probes_needs_a_key(tmp_path: Path) -> None:
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
