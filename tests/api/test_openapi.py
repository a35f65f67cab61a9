from typing import Any

import httpx
import pytest

from emo_serve.api.wire.problems import problem_types
from emo_serve.api.wire.schemas import (
    ClassifyAnswer,
    ClassifyAnswers,
    CocoResult,
    DetectAnswer,
    DetectAnswers,
    JsonImages,
    ProblemDocument,
    SegmentAnswer,
    SegmentAnswers,
)

pytestmark = pytest.mark.anyio


async def operation(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    document = (await client.get("/openapi.json")).json()
    found: dict[str, Any] = document["paths"][path]["post"]
    return found


async def test_operations_have_names_that_people_would_choose(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    names = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert {"classify", "detect", "segment", "list_models", "describe_model", "livez", "readyz"} <= set(names)
    assert len(names) == len(set(names))


async def test_the_document_offers_every_kind_of_body(client: httpx.AsyncClient) -> None:
    for path in ("/classify", "/detect", "/segment"):
        content = (await operation(client, path))["requestBody"]["content"]
        assert set(content) == {"image/*", "application/octet-stream", "multipart/form-data", "application/json"}
        for example in content["application/json"]["examples"].values():
            JsonImages.model_validate(example["value"])
            assert (await client.post(path, json=example["value"])).status_code == 200


async def test_examples_of_answers_are_what_answers_look_like(client: httpx.AsyncClient) -> None:
    classified = (await operation(client, "/classify"))["responses"]["200"]["content"]["application/json"]["examples"]
    ClassifyAnswer.model_validate(classified["one"]["value"])
    ClassifyAnswers.model_validate(classified["several"]["value"])
    detected = (await operation(client, "/detect"))["responses"]["200"]["content"]
    DetectAnswer.model_validate(detected["application/json"]["examples"]["one"]["value"])
    DetectAnswers.model_validate(detected["application/json"]["examples"]["several"]["value"])
    assert all(map(CocoResult.model_validate, detected["application/json"]["examples"]["coco"]["value"]))
    assert {"image/png", "image/jpeg"} < set(detected)
    segmented = (await operation(client, "/segment"))["responses"]["200"]["content"]
    SegmentAnswer.model_validate(segmented["application/json"]["examples"]["one"]["value"])
    SegmentAnswers.model_validate(segmented["application/json"]["examples"]["several"]["value"])
    assert {"image/png", "image/jpeg"} < set(segmented)


async def test_every_problem_is_documented_as_a_problem(client: httpx.AsyncClient) -> None:
    responses = (await operation(client, "/detect"))["responses"]
    named = set()
    for status, response in responses.items():
        if status != "200":
            (media_type,) = response["content"]
            assert media_type == "application/problem+json"
            for name, example in response["content"][media_type]["examples"].items():
                assert ProblemDocument.model_validate(example["value"]).status == int(status)
                named.add(name)
    assert named == {kind.name for kind in problem_types()} - {
        "method-not-allowed",
        "unauthorized",
        "rate-exceeded",
        "conflict",
    }


async def test_every_reference_in_the_document_leads_somewhere(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()

    def references(node: object) -> set[str]:
        if isinstance(node, dict):
            own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
            return own.union(*map(references, node.values()))
        return set().union(*map(references, node)) if isinstance(node, list) else set()

    prefix = "#/components/schemas/"
    assert {ref.removeprefix(prefix) for ref in references(document)} <= set(document["components"]["schemas"])
    assert "HTTPValidationError" not in document["components"]["schemas"]
