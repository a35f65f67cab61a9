"""TorchServe's inference interface."""

import httpx
import pytest

from tests.protocols.pictures import BROKEN, QUADRANTS, RED, own_answer
from tests.protocols.seeds import FORM, form

pytestmark = pytest.mark.anyio

CLASSIFIER, DETECTOR = "/predictions/toy-classifier", "/predictions/toy-detector"


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("path", [CLASSIFIER, f"{CLASSIFIER}/1"])
async def test_the_best_classes_are_those_of_the_own_route(client: httpx.AsyncClient, method: str, path: str) -> None:
    own = (await own_answer(client, "/classify", RED))["classifications"]
    wanted = {entry["name"]: pytest.approx(entry["score"], abs=1e-6) for entry in own}
    raw = await client.request(method, path, content=RED)
    in_a_form = await client.request(method, path, files={"data": RED})
    assert raw.json() == in_a_form.json() == wanted
    assert list(raw.json()) == [entry["name"] for entry in own]


async def test_objects_are_those_of_the_own_route(client: httpx.AsyncClient) -> None:
    own = (await own_answer(client, "/detect", QUADRANTS))["detections"]
    found = (await client.post(DETECTOR, content=QUADRANTS)).json()
    assert found == [
        {entry["name"]: pytest.approx(entry["box"], abs=0.01), "score": pytest.approx(entry["score"], abs=1e-6)}
        for entry in own
    ]


async def test_a_segmenter_answers_as_its_own_route(client: httpx.AsyncClient) -> None:
    answer = await client.post("/predictions/toy-segmenter", content=RED)
    assert answer.json() == await own_answer(client, "/segment", RED)


async def test_the_server_says_that_it_is_healthy(client: httpx.AsyncClient) -> None:
    assert (await client.get("/ping")).json() == {"status": "Healthy"}


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "kind", "reason"),
    [
        (CLASSIFIER, BROKEN, {}, 422, "BadRequestException", ""),
        (CLASSIFIER, b"", {}, 422, "BadRequestException", "empty"),
        (CLASSIFIER, b"{}", {"content-type": "application/json"}, 422, "BadRequestException", "not JSON"),
        (CLASSIFIER, form("file", RED), FORM, 422, "BadRequestException", "'data'"),
        ("/predictions/nothing", RED, {}, 404, "ModelNotFoundException", "toy-classifier"),
        (f"{CLASSIFIER}/9", RED, {}, 404, "ModelNotFoundException", "'9'"),
    ],
)
async def test_what_is_wrong_is_named_in_the_protocols_error(
    client: httpx.AsyncClient, path: str, body: bytes, headers: dict[str, str], status: int, kind: str, reason: str
) -> None:
    answer = await client.post(path, content=body, headers=headers)
    content = answer.json()
    assert (answer.status_code, content["code"], content["type"]) == (status, status, kind), answer.text
    assert reason in content["message"]
