"""Values that a client should not send: refused for what they are in the protocol's shape, or meaning what they say."""

import gzip
import json
import time
import zlib
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from emo_serve.api.protocols.open_inference_tensors import RequestedOutput, write_response
from tests.protocols.pictures import QUADRANTS, RED, own_answer, text
from tests.protocols.seeds import FORM, SEEDS, Seed, form, is_error_of
from tests.serving import in_process, settings_for

pytestmark = pytest.mark.anyio

V2, V1 = "/v2/models/toy-classifier/infer", "/v1/models/toy-classifier:predict"
PNG = {"content-type": "image/png"}
PIXELS = np.random.default_rng(0).integers(0, 256, (32, 32, 3))
ENCODED = [seed for seed in SEEDS if seed.protocol != "sagemaker"]  # that is the own route


def v2(data: object, datatype: str = "BYTES", shape: tuple[int, ...] = (1,), **members: object) -> dict[str, Any]:
    return {"inputs": [{"name": "image", "datatype": datatype, "shape": shape, "data": data}], **members}


@pytest.mark.parametrize("microseconds", [10**400, -(10**400), 1 << 63])
async def test_a_timeout_of_any_length_is_none(client: httpx.AsyncClient, microseconds: int) -> None:
    body = json.dumps(v2([text(RED)], parameters={"timeout": microseconds}))
    assert (await client.post(V2, content=body)).status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("digits", [20, 4500, 8000])
async def test_a_version_of_thousands_of_digits_is_not_there(
    client: httpx.AsyncClient, method: str, digits: int
) -> None:
    for path in (f"/toy-detector/{'9' * digits}", f"/nothing/{'9' * digits}", f"/v2/{'9' * digits}"):
        assert (await client.request(method, path, content=RED)).status_code == 404


@pytest.mark.parametrize(("protocol", "path"), [("v2", "/v2/1"), ("roboflow", "/infer/1"), ("roboflow", "/model/1")])
async def test_what_stands_below_the_prefix_of_one_protocol_is_no_model_of_another(
    client: httpx.AsyncClient, protocol: str, path: str
) -> None:
    answer = await client.post(path, content=text(RED))
    assert (answer.status_code, is_error_of(protocol, answer)) == (404, True), answer.text


NESTED = {
    "channels first": PIXELS.transpose(2, 0, 1).tolist(),
    "ragged": [PIXELS.ravel().tolist()[:-1], [1]],
    "a level more": [PIXELS.tolist()],
    "truth values": (PIXELS > 127).tolist(),
    "fractions": (PIXELS / 2).tolist(),
    "one of them is none": [None, *PIXELS.ravel().tolist()[1:]],
}


@pytest.mark.parametrize("nested", NESTED)
async def test_values_that_are_nested_otherwise_than_the_graph_takes_them_are_refused(
    client: httpx.AsyncClient, nested: str
) -> None:
    for body, path in (
        (v2([NESTED[nested]], "UINT8", (1, 32, 32, 3)), V2),
        ({"instances": [NESTED[nested]]}, V1),
    ):
        answer = await client.post(path, json=body)
        assert (answer.status_code, "whole numbers from 0 to 255" in answer.text) == (400, True), answer.text


async def test_values_may_be_nested_or_in_one_array(client: httpx.AsyncClient) -> None:
    answers = [
        (await client.post(V2, json=v2(data, "UINT8", (1, 32, 32, 3)))).json()["outputs"][0]["data"]
        for data in ([PIXELS.tolist()], PIXELS.ravel().tolist())
    ]
    for data in (PIXELS.tolist(), PIXELS.ravel().tolist()):
        answers += (await client.post(V1, json={"instances": [data]})).json()["predictions"]
    assert all(answer == answers[0] for answer in answers)


async def test_a_negative_size_of_raw_bytes_is_refused(client: httpx.AsyncClient) -> None:
    body = v2([text(RED)])
    body["inputs"][0]["parameters"] = {"binary_data_size": -5}
    assert (await client.post(V2, json=body)).status_code == 400


async def test_a_size_of_thousands_of_digits_is_not_repeated(client: httpx.AsyncClient) -> None:
    answer = await client.post(V2, content=json.dumps(v2([text(RED)], shape=(10**4000,))))
    assert (answer.status_code, len(answer.text) < 300) == (400, True)


def test_numbers_that_json_does_not_have_are_null() -> None:
    scores = np.array([[np.nan, np.inf, 0.5]], np.float32)
    body, _ = write_response({}, [(RequestedOutput("scores", is_binary=False, classes=None), scores)])
    assert json.loads(body, parse_constant=pytest.fail)["outputs"][0]["data"] == [None, None, 0.5]


async def test_json_may_begin_with_a_byte_order_mark(client: httpx.AsyncClient) -> None:
    body = b"\xef\xbb\xbf" + json.dumps({"instances": [{"b64": text(RED)}]}).encode()
    assert (await client.post(V1, content=body)).status_code == 200


@pytest.mark.parametrize("seed", ENCODED, ids=str)
async def test_a_body_may_be_compressed_and_is_bounded_as_it_grows(client: httpx.AsyncClient, seed: Seed) -> None:
    async def sent(body: bytes, encoding: str) -> httpx.Response:
        return await client.post(seed.path, content=body, headers={**seed.headers, "Content-Encoding": encoding})

    for encoding, compress in (("gzip", gzip.compress), ("deflate", zlib.compress), ("GZIP", gzip.compress)):
        assert (await sent(compress(seed.body), encoding)).status_code == 200
    bomb = await sent(gzip.compress(bytes(50_000_000)), "gzip")
    assert (bomb.status_code, is_error_of(seed.protocol, bomb)) == (413, True)
    for body, encoding in (
        (seed.body, "gzip"),
        (gzip.compress(seed.body)[:-3], "gzip"),
        (gzip.compress(seed.body) + b"x", "gzip"),
        (seed.body, "br"),
        (seed.body, "gzip, gzip"),
    ):
        refused = await sent(body, encoding)
        assert (refused.status_code in (400, 415, 422), is_error_of(seed.protocol, refused)) == (True, True)


NESTED_VALUES = {
    "arrays in arrays": b"[" * 150 + b"]" * 150,
    "empty arrays": b"[]," * 29 + b"[]",
    "objects in objects": b'{"a":' * 150 + b"1" + b"}" * 150,
}


@pytest.mark.parametrize("path", [V1, V2, "/infer/classification", "/models/toy-classifier"])
@pytest.mark.parametrize("piece", NESTED_VALUES)
async def test_values_count_however_they_are_nested(tmp_path: Path, path: str, piece: str) -> None:
    body = b'{"inputs":[' + b",".join([NESTED_VALUES[piece]] * 40_000) + b"]}"
    async with in_process(settings_for(tmp_path)) as (client, _):
        began = time.process_time()
        answer = await client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code in (400, 422), "more values" in answer.text) == (True, True)
        assert time.process_time() - began < 1


@pytest.mark.parametrize("path", ["/classify", V1, "/infer/classification", "/models/toy-classifier"])
async def test_as_many_images_as_a_setting_may_allow_are_not_too_many_values(tmp_path: Path, path: str) -> None:
    images = ["data:image/png;base64,AAAA"] * 1000
    bodies: dict[str, dict[str, Any]] = {
        "/classify": {"images": images},
        V1: {"instances": [{"b64": image} for image in images]},
        "/infer/classification": {"image": [{"type": "base64", "value": image} for image in images]},
        "/models/toy-classifier": {"inputs": images, "parameters": {"top_k": 1}},
    }
    async with in_process(settings_for(tmp_path, max_images_per_request=1000)) as (client, _):
        answer = await client.post(path, json=bodies[path])
        assert "values" not in answer.text
        assert "allowed are JPEG" in answer.text  # each is no picture


async def test_elements_without_bytes_are_counted_no_further_than_the_shape(client: httpx.AsyncClient) -> None:
    entry = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 160_000}}
    head = json.dumps({"inputs": [entry]}).encode()
    began = time.process_time()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    answer = await client.post(V2, content=head + bytes(160_000), headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (400, "The input has more elements, and its shape says 1.")
    assert time.process_time() - began < 1


async def test_names_of_classes_without_end_are_not_looked_up(client: httpx.AsyncClient) -> None:
    for classes in ("x," * 50_000, "," * 100_000):
        body = {"instances": [{"b64": text(RED)}], "parameters": {"classes": classes}}
        answer = await client.post("/v1/models/toy-detector:predict", json=body)
        assert (answer.status_code, "too many names: allowed are 1000" in answer.text) == (400, True)


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/v1/models/toy-detector:predict", "top_k"),
        (V2, "score_threshold"),
        ("/models/toy-classifier", "version"),
        ("/predictions/toy-classifier", "top_k"),
        ("/invocations", "model"),
        ("/infer/object_detection", "confidence"),
    ],
)
async def test_a_query_that_a_protocol_does_not_have_is_refused_and_not_ignored(
    client: httpx.AsyncClient, path: str, parameter: str
) -> None:
    seed = next(seed for seed in SEEDS if seed.path == path)
    answer = await client.post(f"{path}?{parameter}=0", content=seed.body, headers=seed.headers)
    assert answer.status_code in (400, 422)
    assert f"Unknown parameter '{parameter}' in the query" in answer.text
    assert is_error_of(seed.protocol, answer)


async def test_a_field_that_torchserve_would_hand_to_a_handler_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post("/predictions/toy-classifier", content=form("data", RED, top_k="0"), headers=FORM)
    assert (answer.status_code, "Unknown field 'top_k'" in answer.text) == (422, True)


@pytest.mark.parametrize("given", [{"top_k": True}, {"score_threshold": False}])
async def test_true_is_no_number(client: httpx.AsyncClient, given: dict[str, bool]) -> None:
    answer = await client.post(V1, json={"instances": [{"b64": text(RED)}], "parameters": given})
    assert (answer.status_code, "allowed is a" in answer.text) == (400, True)


async def test_a_long_form_of_texts_is_not_taken_apart(client: httpx.AsyncClient) -> None:
    headers, began = {"content-type": "application/x-www-form-urlencoded"}, time.process_time()
    for path in ("/v1/vision/detection", "/v1/vision/custom/list"):
        answer = await client.post(path, content=b"a=" + b"%41" * 60_000, headers=headers)
        assert (answer.status_code, "65536 bytes" in answer.text) == (400, True)
    assert time.process_time() - began < 1


@pytest.mark.parametrize("classes", ["red,blue", ["red", "blue"], "red, blue"])
async def test_classes_may_be_one_text_where_a_protocol_has_no_arrays(
    client: httpx.AsyncClient, classes: object
) -> None:
    own = await own_answer(client, "/detect?classes=red,blue", QUADRANTS)
    body = {"instances": [{"b64": text(QUADRANTS)}], "parameters": {"classes": classes}}
    answer = await client.post("/v1/models/toy-detector:predict", json=body)
    assert answer.json()["predictions"] == [own]


async def test_an_error_calls_a_parameter_as_its_client_does(client: httpx.AsyncClient) -> None:
    image = {"type": "base64", "value": text(RED)}
    roboflow = await client.post("/infer/object_detection", json={"image": image, "confidence": 7})
    hugging_face = await client.post("/models/toy-detector", json={"inputs": text(RED), "parameters": {"threshold": 7}})
    deepstack = await client.post("/v1/vision/detection", content=form("image", RED, min_confidence="7"), headers=FORM)
    for answer, name in ((roboflow, "confidence"), (hugging_face, "threshold"), (deepstack, "min_confidence")):
        assert answer.status_code in (400, 422)
        assert f"\"{name} = '7'" in answer.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Custom-Attributes": "version=7"}, 404),
        ({"Custom-Attributes": "version=1"}, 200),
        ({"Custom-Attributes": "model=toy-detector", "Target-Model": "toy-classifier"}, 422),
        ({"Custom-Attributes": "model=toy-detector", "Target-Model": "toy-detector"}, 200),
    ],
)
async def test_sagemaker_gets_the_version_and_the_model_that_it_names(
    client: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    named = {f"X-Amzn-SageMaker-{name}": value for name, value in headers.items()}
    assert (await client.post("/invocations", content=RED, headers={**PNG, **named})).status_code == status
