"""KServe's client, unmodified."""

import base64
from pathlib import Path

import anyio
import numpy as np
import pytest
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

from tests.clients.conftest import Own

MODEL = "emo-1m"


def test_version_1_of_the_protocol_gives_the_answer_of_the_own_route(url: str, photo: Path, own: Own) -> None:
    content = {"instances": [{"b64": base64.b64encode(photo.read_bytes()).decode()}]}

    async def ask() -> dict:
        client = InferenceRESTClient(RESTConfig(protocol="v1"))
        assert await client.is_model_ready(url, MODEL)
        answer = await client.infer(url, content, model_name=MODEL)
        await client.close()
        return answer

    assert anyio.run(ask) == {"predictions": [own("/classify")]}


@pytest.mark.parametrize("binary", [True, False])
def test_a_photo_is_classified_as_by_the_own_route(url: str, photo: Path, own: Own, binary: bool) -> None:
    data = photo.read_bytes()

    async def ask() -> np.ndarray:
        client = InferenceRESTClient(RESTConfig(protocol="v2"))
        assert await client.is_server_live(url)
        assert await client.is_server_ready(url)
        assert await client.is_model_ready(url, MODEL)
        assert not await client.is_model_ready(url, "nothing")
        tensor = InferInput("images", [1], "BYTES")
        if binary:
            tensor.set_data_from_numpy(np.array([data], np.object_), binary_data=True)
        else:
            tensor.set_data_from_numpy(np.array([base64.b64encode(data)], np.object_), binary_data=False)
        request = InferRequest(MODEL, [tensor], parameters={"binary_data_output": binary})
        answer = await client.infer(url, request, model_name=MODEL)
        await client.close()
        return answer.outputs[0].as_numpy()

    scores = anyio.run(ask)
    best = own("/classify?top_k=1")["classifications"][0]
    assert scores.argmax() == best["class_id"]
    assert scores.max() == pytest.approx(best["score"], abs=1e-6)


def test_over_grpc_a_photo_is_classified_as_by_the_own_route(grpc_address: str, photo: Path, own: Own) -> None:
    data = photo.read_bytes()

    async def ask() -> np.ndarray:
        async with InferenceGRPCClient(grpc_address) as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready(MODEL)
            tensor = InferInput("images", [1], "BYTES")
            tensor.set_data_from_numpy(np.array([data], np.object_), binary_data=True)
            answer = await client.infer(InferRequest(MODEL, [tensor]))
        return answer.outputs[0].as_numpy()

    scores = anyio.run(ask)
    best = own("/classify?top_k=1")["classifications"][0]
    assert scores.argmax() == best["class_id"]
