"""Broad groups in the answers of /classify: there where the model has some, and nowhere else."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from emo_serve.api.wire.schemas import ClassifyAnswer, DetectAnswer
from tests.serving import in_process, settings_for
from tests.support import encode_image, plain, quadrants, write_classifier, write_detector

pytestmark = pytest.mark.anyio
TWO_BLUE = encode_image(quadrants("red", "green", "blue", "blue"))


@pytest.fixture(scope="module")
async def client(
    anyio_backend: str,  # noqa: ARG001  makes anyio run this fixture
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[httpx.AsyncClient]:
    models: Path = tmp_path_factory.mktemp("models")
    write_classifier(models, "grouped", groups=("warm", "cold", "cold"))
    write_classifier(models, "plain")
    write_detector(models)
    async with in_process(settings_for(models)) as (client, _):
        yield client


async def ask(client: httpx.AsyncClient, model: str = "grouped", **query: Any) -> dict[str, Any]:  # noqa: ANN401  any parameter
    response = await client.post(
        "/classify", params={"model": model, **query}, content=TWO_BLUE, headers={"content-type": "image/png"}
    )
    ClassifyAnswer.model_validate_json(response.content)
    answer: dict[str, Any] = response.json()
    return answer


async def test_each_class_carries_its_group_and_the_groups_their_sums(client: httpx.AsyncClient) -> None:
    answer = await ask(client)
    scores = {entry["name"]: entry["score"] for entry in answer["classifications"]}
    assert {entry["name"]: entry["group"] for entry in answer["classifications"]} == {
        "blue": "cold",
        "green": "cold",
        "red": "warm",
    }
    assert [group["name"] for group in answer["groups"]] == ["cold", "warm"]
    assert answer["groups"][0]["score"] == pytest.approx(scores["blue"] + scores["green"], abs=2e-6)
    assert sum(group["score"] for group in answer["groups"]) == pytest.approx(1, abs=2e-6)


async def test_the_sums_are_over_classes_that_are_not_listed_too(client: httpx.AsyncClient) -> None:
    everything, short = await ask(client), await ask(client, top_k=1)
    assert len(short["classifications"]) == len(short["groups"]) == 1
    assert short["groups"][0] == everything["groups"][0]
    assert short["groups"][0]["score"] > short["classifications"][0]["score"]


async def test_the_threshold_holds_for_groups_by_their_own_scores(client: httpx.AsyncClient) -> None:
    everything = await ask(client)
    between = (everything["classifications"][0]["score"] + everything["groups"][0]["score"]) / 2
    answer = await ask(client, score_threshold=between)
    assert answer["classifications"] == []
    assert answer["groups"] == everything["groups"][:1]
    assert (await ask(client, score_threshold=1))["groups"] == []


async def test_a_model_without_groups_answers_without_them(client: httpx.AsyncClient) -> None:
    answer = await ask(client, "plain")
    assert set(answer) == {"model", "image", "classifications"}
    assert all(set(entry) == {"label", "name", "score"} for entry in answer["classifications"])


async def test_each_of_several_images_has_its_groups(client: httpx.AsyncClient) -> None:
    files = [("file", encode_image(plain(colour))) for colour in ("red", "blue")] + [("file", b"")]
    results = (await client.post("/classify?model=grouped", files=files)).json()["results"]
    assert [entry["groups"][0]["name"] for entry in results[:2]] == ["warm", "cold"]
    assert set(results[2]) == {"error"}


async def test_objects_have_no_groups(client: httpx.AsyncClient) -> None:
    answer = await client.post("/detect", content=TWO_BLUE, headers={"content-type": "image/png"})
    assert DetectAnswer.model_validate_json(answer.content).detections
    assert "group" not in answer.text


async def test_the_manifest_that_is_shown_names_the_groups(client: httpx.AsyncClient) -> None:
    assert (await client.get("/models/grouped")).json()["manifest"]["groups"] == ["warm", "cold", "cold"]
    assert "groups" not in (await client.get("/models/plain")).json()["manifest"]


async def test_the_document_says_that_groups_may_be_absent_but_are_never_null(client: httpx.AsyncClient) -> None:
    schemas = (await client.get("/openapi.json")).json()["components"]["schemas"]
    for name, field in (("ClassifyAnswer", "groups"), ("GroupedClass", "group")):
        assert field not in schemas[name]["required"]
        assert "null" not in str(schemas[name]["properties"][field])
        assert "default" not in schemas[name]["properties"][field]
    assert "group" not in schemas["DetectedObject"]["properties"]
