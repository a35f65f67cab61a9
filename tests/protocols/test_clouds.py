"""The interfaces of platforms that start this server as their container: SageMaker and Vertex AI."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from emo_serve.api.protocols.vertex import adapter
from emo_serve.errors import StartupError
from tests.protocols.pictures import BROKEN, GREEN, QUADRANTS, RED, own_answer, text
from tests.serving import in_process, settings_for

pytestmark = pytest.mark.anyio

PNG = {"content-type": "image/png"}
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
TARGET = "X-Amzn-SageMaker-Target-Model"
DEFAULT = "/v1/endpoints/7/deployedModels/8"


async def test_an_invocation_is_answered_as_by_the_own_route(client: httpx.AsyncClient) -> None:
    for data in (RED, GREEN):
        answer = await client.post("/invocations", content=data, headers=PNG)
        assert answer.json() == await own_answer(client, "/classify", data)
    several = await client.post("/invocations", json={"images": [text(RED), text(BROKEN)]})
    assert several.json()["results"][0]["classifications"][0]["name"] == "red"
    assert several.json()["results"][1]["error"]["status"] == 422


async def test_headers_name_the_model_and_its_parameters(client: httpx.AsyncClient) -> None:
    own = await own_answer(client, "/detect?max_detections=1", QUADRANTS)
    target = {TARGET: "toy-detector"}
    for headers in (target | {ATTRIBUTES: "max_detections=1"}, {ATTRIBUTES: "model=toy-detector&max_detections=1"}):
        answer = await client.post("/invocations", content=QUADRANTS, headers=PNG | headers)
        assert answer.json() == own
    drawn = await client.post(
        "/invocations", content=RED, headers=PNG | {TARGET: "toy-detector", "accept": "image/png"}
    )
    assert drawn.headers["content-type"] == "image/png"
    form = await client.post("/invocations", files={"file": RED}, data={"top_k": "1"})
    assert len(form.json()["classifications"]) == 1


@pytest.mark.parametrize(
    ("headers", "status", "reason"),
    [
        (PNG | {TARGET: "nothing"}, 404, "toy-classifier"),
        (PNG | {ATTRIBUTES: "top_k=0"}, 422, "from 1 to 1000"),
        (PNG | {ATTRIBUTES: "c000b4f9-df62-4c85"}, 422, "Unknown parameter"),
        (PNG | {ATTRIBUTES: "model=toy-detector&top_k=1"}, 422, "max_detections"),
        ({"content-type": "text/csv"}, 415, "text/csv"),
        (PNG | {"accept": "text/csv"}, 406, "application/json"),
    ],
)
async def test_what_is_wrong_with_an_invocation_is_named(
    client: httpx.AsyncClient, headers: dict[str, str], status: int, reason: str
) -> None:
    answer = await client.post("/invocations", content=RED, headers=headers)
    assert (answer.status_code, answer.json()["status"]) == (status, status), answer.text
    assert reason in answer.json()["detail"]


@pytest.fixture
async def vertex(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    anyio_backend: str,  # noqa: ARG001  makes anyio run this fixture
) -> AsyncIterator[httpx.AsyncClient]:
    monkeypatch.setenv("AIP_HEALTH_ROUTE", "/alive")
    monkeypatch.setenv("AIP_PREDICT_ROUTE", "/ask/me")
    async with in_process(settings_for(tmp_path)) as (client, _):
        yield client


async def test_vertex_asks_where_its_variables_say(vertex: httpx.AsyncClient) -> None:
    assert (await vertex.get("/alive")).status_code == 200
    answer = await vertex.post("/ask/me", json={"instances": [{"b64": text(RED)}, {"b64": text(GREEN)}]})
    own = [await own_answer(vertex, "/classify", data) for data in (RED, GREEN)]
    assert answer.json() == {"predictions": own}
    assert (await vertex.post(f"{DEFAULT}:predict", json={})).status_code == 404


async def test_vertex_asks_at_its_usual_paths_without_them(client: httpx.AsyncClient) -> None:
    assert (await client.get(DEFAULT)).status_code == 200
    content = {"instances": [{"b64": text(RED)}], "parameters": {"top_k": 1}}
    answer = (await client.post(f"{DEFAULT}:predict", json=content)).json()
    assert [entry["name"] for entry in answer["predictions"][0]["classifications"]] == ["red"]


@pytest.mark.parametrize("path", ["predict", "https://x/y", "/{name}"])
def test_a_variable_that_is_no_path_is_refused_at_start(path: str) -> None:
    with pytest.raises(StartupError, match="AIP_PREDICT_ROUTE"):
        adapter({"AIP_PREDICT_ROUTE": path})


async def test_probes_say_whether_requests_may_come(tmp_path: Path) -> None:
    for protocol in ("torchserve", "sagemaker", "vertex"):
        async with in_process(settings_for(tmp_path, protocols=(protocol,))) as (client, services):
            path = DEFAULT if protocol == "vertex" else "/ping"
            assert (await client.get(path)).status_code == 200
            services.drain.set()
            assert (await client.get(path)).status_code == 503
