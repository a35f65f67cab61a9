"""docs/api.md says what the server does: its examples are true, its tables complete; tests/docs runs its commands."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter

from emo_serve.api.wire.schemas import (
    ClassifyAnswer,
    ClassifyAnswers,
    CocoResult,
    DetectAnswer,
    DetectAnswers,
    ProblemDocument,
    SegmentAnswer,
    SegmentAnswers,
)
from tests.serving import running, settings_for
from tests.support import encode_image, plain, write_classifier, write_detector, write_segmenter

TEXT = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
ANSWERS = [block for kind, block in BLOCKS if kind == "json"]
ANSWER: TypeAdapter[Any] = TypeAdapter(
    ClassifyAnswer
    | ClassifyAnswers
    | DetectAnswer
    | DetectAnswers
    | list[CocoResult]
    | SegmentAnswer
    | SegmentAnswers
    | ProblemDocument
)
PHOTO = encode_image(plain("red"), "JPEG")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Toy models under the names that the examples use."""
    models = tmp_path_factory.mktemp("models")
    write_classifier(models, "emo-1m")
    write_detector(models, "ssdlite-emo-1m")
    write_segmenter(models, "deeplabv3-emo-1m")
    with running(settings_for(models)) as server, httpx.Client(base_url=server.url, timeout=20) as client:
        yield client


@pytest.mark.parametrize("answer", ANSWERS, ids=range(len(ANSWERS)))
def test_an_example_is_what_an_answer_looks_like(answer: str) -> None:
    ANSWER.validate_json(answer)


def test_the_example_of_a_problem_is_the_servers_own(client: httpx.Client) -> None:
    documented = json.loads(ANSWERS[-1])
    headers = {"X-Request-Id": documented["request_id"], "Content-Type": "image/jpeg"}
    assert client.post("/classify?top_k=0", content=PHOTO, headers=headers).json() == documented


def test_every_route_and_parameter_is_documented_and_no_other(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    routes = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert set(re.findall(r"`((?:GET|POST) /[\w{}/]+)`", TEXT)) - {"GET /docs"} == routes
    parameters = {
        entry["name"]
        for methods in paths.values()
        for operation in methods.values()
        for entry in operation.get("parameters", [])
        if entry["in"] == "query"
    }
    section = TEXT[TEXT.index("## Parameters") : TEXT.index("## Answers")]
    assert set(re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)) == parameters
