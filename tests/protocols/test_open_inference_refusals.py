"""What the Open Inference Protocol over HTTP refuses, in its own error."""

import gzip
import json
from pathlib import Path

import httpx
import pytest

from tests.protocols.open_inference import CLASSIFIER, LENGTH, PIXELS, asking, framed
from tests.protocols.pictures import BROKEN, RED
from tests.serving import in_process, settings_for

pytestmark = pytest.mark.anyio

RAW_PIXELS = {"inputs": [{**PIXELS, "parameters": {"binary_data_size": 3072}}]}
WRONG: dict[str, tuple[bytes, dict[str, str], str]] = {
    "no JSON": (b"{", {}, "no JSON"),
    "a list": (b"[]", {}, "object"),
    "no inputs": (b"{}", {}, "'image'"),
    "another name": (json.dumps({"inputs": [{"name": "x"}]}).encode(), {}, "'image'"),
    "two inputs": (json.dumps({"inputs": [PIXELS, PIXELS]}).encode(), {}, "'image'"),
    "another datatype": (json.dumps({"inputs": [{**PIXELS, "datatype": "FP32", "data": []}]}).encode(), {}, "UINT8"),
    "another shape": (json.dumps({"inputs": [{**PIXELS, "shape": [1, 3, 32, 32]}]}).encode(), {}, "[N, 32, 32, 3]"),
    "a shape of text": (json.dumps({"inputs": [{**PIXELS, "shape": ["1"]}]}).encode(), {}, "whole numbers"),
    "too many pictures": (json.dumps({"inputs": [{**PIXELS, "shape": [5, 32, 32, 3]}]}).encode(), {}, "1 to 4"),
    "too few values": (json.dumps({"inputs": [{**PIXELS, "data": [1, 2]}]}).encode(), {}, "3072"),
    "values out of range": (json.dumps({"inputs": [{**PIXELS, "data": [256] * 3072}]}).encode(), {}, "0 to 255"),
    "fractions": (json.dumps({"inputs": [{**PIXELS, "data": [0.5] * 3072}]}).encode(), {}, "0 to 255"),
    "texts": (json.dumps({"inputs": [{**PIXELS, "data": ["1"] * 3072}]}).encode(), {}, "0 to 255"),
    "too few raw bytes": (*framed(RAW_PIXELS, bytes(3071)), "3071"),
    "too many raw bytes": (*framed(RAW_PIXELS, bytes(3073)), "3073"),
    "a header too long": (b"{}", {LENGTH: "3"}, "3 bytes are JSON"),
    "a header that is no number": (b"{}", {LENGTH: "-1"}, "whole number"),
    "an address": (
        json.dumps({"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": ["http://x/y"]}]}).encode(),
        {},
        "not fetched",
    ),
    "no picture": (json.dumps(asking(b"nothing")).encode(), {}, "allowed are JPEG"),
    "one broken picture": (json.dumps(asking(RED, BROKEN)).encode(), {}, "Image 1"),
    "an unknown output": (json.dumps(asking(RED, outputs=[{"name": "x"}])).encode(), {}, "allowed are"),
    "an output twice": (json.dumps(asking(RED, outputs=[{"name": "scores"}] * 2)).encode(), {}, "twice"),
    "an unknown parameter": (json.dumps(asking(RED, parameters={"colour": 1})).encode(), {}, "'colour'"),
    "no gzip": (b"{}", {"Content-Encoding": "gzip"}, "gzip"),
    "half of a gzip": (gzip.compress(b"{}" * 1000)[:-9], {"Content-Encoding": "gzip"}, "stops"),
    "more behind a gzip": (gzip.compress(b"{}") + b"{}", {"Content-Encoding": "gzip"}, "follows"),
    "nothing as a gzip": (b"", {"Content-Encoding": "gzip"}, "stops"),
    "very deep JSON": (b"[" * 100_000, {}, "no JSON"),
    "another coding": (b"{}", {"Content-Encoding": "br"}, "gzip, deflate"),
}


@pytest.mark.parametrize("case", WRONG)
async def test_what_is_wrong_is_named_in_the_protocols_error(client: httpx.AsyncClient, case: str) -> None:
    body, headers, reason = WRONG[case]
    answer = await client.post(CLASSIFIER, content=body, headers=headers)
    assert answer.status_code == 400, answer.text
    assert list(answer.json()) == ["error"]
    assert reason in answer.json()["error"]


async def test_a_list_of_very_many_values_is_refused_before_it_becomes_objects(tmp_path: Path) -> None:
    async with in_process(settings_for(tmp_path)) as (client, _):
        answer = await client.post(CLASSIFIER, content=b'{"inputs":[' + b"0," * 5_000_000 + b"0]}")
        assert answer.status_code == 400
        assert "more values" in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("GET", "/v2/nothing", 404, "POST /v2/models/{name}/infer"),
        ("GET", "/v2/models/nothing", 404, "toy-classifier"),
        ("GET", "/v2/models/toy-classifier/versions/9", 404, "'9'"),
        ("POST", "/v2/models/nothing/infer", 404, "toy-classifier"),
        ("GET", CLASSIFIER, 405, "POST"),
        ("POST", "/v2/repository/models/toy-classifier/unload", 403, "administration"),
        ("POST", "/v2/repository/models/toy-classifier/load", 403, "administration"),
    ],
)
async def test_what_is_not_there_is_said_in_the_protocols_error(
    client: httpx.AsyncClient, method: str, path: str, status: int, reason: str
) -> None:
    answer = await client.request(method, path)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert reason in answer.json()["error"]


async def test_a_body_that_says_it_is_too_large_is_refused_in_the_protocols_error(client: httpx.AsyncClient) -> None:
    answer = await client.post(CLASSIFIER, content=bytes(200_001))
    assert (answer.status_code, list(answer.json())) == (413, ["error"])
