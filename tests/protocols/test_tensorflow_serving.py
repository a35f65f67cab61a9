"""TensorFlow Serving's REST interface and KServe's version 1."""

from typing import Any

import httpx
import numpy as np
import pytest

from tests.protocols.pictures import BROKEN, GREEN, RED, own_answer, pixels, text
from tests.support import COLOURS, RGB

pytestmark = pytest.mark.anyio

CLASSIFIER, DETECTOR = "/v1/models/toy-classifier", "/v1/models/toy-detector"


async def test_models_and_their_state_are_told_to_both_kinds_of_clients(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/models")).json()["models"][0] == "toy-classifier"
    state = (await client.get(CLASSIFIER)).json()
    assert (state["name"], state["ready"]) == ("toy-classifier", True)
    assert [(entry["version"], entry["state"]) for entry in state["model_version_status"]] == [("1", "AVAILABLE")]
    described = (await client.get(f"{DETECTOR}/metadata")).json()
    signature = described["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["image"]["dtype"] == "DT_UINT8"
    assert set(signature["outputs"]) == {"boxes", "scores"}


@pytest.mark.parametrize(
    "instance", [{"b64": text(RED)}, text(RED), {"image": {"b64": text(RED)}}, {"image_bytes": {"b64": text(RED)}}]
)
@pytest.mark.parametrize("path", [CLASSIFIER, f"{CLASSIFIER}/versions/1"])
async def test_an_encoded_instance_gets_the_answer_of_the_own_route(
    client: httpx.AsyncClient, path: str, instance: object
) -> None:
    content = {"signature_name": "serving_default", "instances": [instance, {"b64": text(GREEN)}]}
    own = [await own_answer(client, "/classify", data) for data in (RED, GREEN)]
    assert (await client.post(f"{path}:predict", json=content)).json() == {"predictions": own}


async def test_values_get_the_outputs_of_the_graph(client: httpx.AsyncClient) -> None:
    instances = [pixels(RGB[colour]).tolist() for colour in ("blue", "green")]
    scores = (await client.post(f"{CLASSIFIER}:predict", json={"instances": instances})).json()["predictions"]
    assert [COLOURS[int(np.argmax(row))] for row in scores] == ["blue", "green"]
    (found,) = (await client.post(f"{DETECTOR}:predict", json={"instances": instances[:1]})).json()["predictions"]
    assert np.shape(found["boxes"]) == (4, 4)
    assert np.shape(found["scores"]) == (4, 3)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "'instances'"),
    ({"instances": {}}, "an array"),
    ({"instances": []}, "'instances'"),
    ({"instances": [1]}, "b64"),
    ({"instances": [{"b64": 1}]}, "b64"),
    ({"instances": [{"a": 1, "b": 2}]}, "b64"),
    ({"instances": [[1, 2, 3]]}, "32 x 32 x 3"),
    ({"instances": [[[0.5] * 3] * 1024]}, "0 to 255"),
    ({"instances": [{"b64": text(RED)}] * 5}, "1 to 4"),
    ({"instances": [{"b64": text(RED)}, pixels(RGB["red"]).tolist()]}, "all"),
    ({"instances": [pixels(RGB["red"]).tolist()], "parameters": {"top_k": 1}}, "'top_k'"),
    ({"instances": [{"b64": text(RED)}], "parameters": {"colour": 1}}, "'colour'"),
    ({"instances": [{"b64": text(RED)}], "signature_name": "other"}, "serving_default"),
    ({"instances": [{"b64": text(RED)}, {"b64": text(BROKEN)}]}, "Image 1"),
]


@pytest.mark.parametrize(("content", "reason"), WRONG)
async def test_what_is_wrong_is_named_in_the_protocols_error(
    client: httpx.AsyncClient, content: dict[str, Any], reason: str
) -> None:
    answer = await client.post(f"{CLASSIFIER}:predict", json=content)
    assert (answer.status_code, list(answer.json())) == (400, ["error"]), answer.text
    assert reason in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/models/nothing:predict", 404),
        ("POST", f"{CLASSIFIER}/versions/9:predict", 404),
        ("POST", f"{CLASSIFIER}:explain", 405),
        ("GET", f"{CLASSIFIER}:predict", 404),
        ("GET", "/v1/models/nothing", 404),
    ],
)
async def test_what_is_not_there_is_said_in_the_protocols_error(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    answer = await client.request(method, path)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
