"""The Open Inference Protocol over HTTP: its shapes, its raw tensors, and answers equal to those of the own routes."""

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from emo_serve.main import create_admin_app
from tests.protocols.conftest import Served
from tests.protocols.open_inference import CLASSIFIER, LENGTH, PIXELS, asking, elements, framed
from tests.protocols.pictures import BROKEN, GREEN, QUADRANTS, RED, own_answer, pixels, text
from tests.serving import in_process, settings_for
from tests.support import COLOURS, RGB, write_classifier

pytestmark = pytest.mark.anyio

DETECTOR = "/v2/models/toy-detector/infer"
TOKEN = "a token for tests"  # noqa: S105  # as it says


def outputs_of(answer: httpx.Response) -> dict[str, np.ndarray[Any, Any]]:
    """The outputs, wherever they are in the body."""
    assert answer.status_code == 200, answer.text
    length = int(answer.headers.get(LENGTH, len(answer.content)))
    content, raw = json.loads(answer.content[:length]), answer.content[length:]
    outputs = {}
    for entry in content["outputs"]:
        dtype = {"FP32": np.float32, "INT64": np.int64, "UINT8": np.uint8, "BYTES": object}[entry["datatype"]]
        if "data" in entry:
            values = np.array(entry["data"], dtype)
        else:
            size = entry["parameters"]["binary_data_size"]
            values, raw = np.frombuffer(raw[:size], dtype), raw[size:]
        outputs[entry["name"]] = values.reshape(entry["shape"])
    assert not raw
    return outputs


async def test_the_server_and_its_models_are_described(client: httpx.AsyncClient) -> None:
    server = (await client.get("/v2")).json()
    assert server["name"] == "emo-serve"
    assert {"binary_tensor_data", "classification", "statistics"} <= set(server["extensions"])
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/toy-classifier/ready"):
        assert (await client.get(path)).status_code == 200
    assert (await client.get("/v2/health/ready")).json() == {"live": True, "ready": True}
    assert (await client.get("/v2/models")).json()["models"] == ["toy-classifier", "toy-detector", "toy-segmenter"]
    for path in ("/v2/models/toy-detector", "/v2/models/toy-detector/versions/1"):
        model = (await client.get(path)).json()
        assert (model["name"], model["versions"], model["platform"]) == ("toy-detector", ["1"], "onnx_onnxv1")
        assert model["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 32, 32, 3]}]
        assert {"name": "boxes", "datatype": "FP32", "shape": [-1, 4, 4]} in model["outputs"]
        assert model["parameters"]["labels"] == list(COLOURS)
    config = (await client.get("/v2/models/toy-detector/config")).json()
    assert config["input"] == [{"name": "image", "data_type": "TYPE_UINT8", "dims": [32, 32, 3]}]


async def test_encoded_pictures_get_the_scores_of_the_own_route(client: httpx.AsyncClient) -> None:
    named = asking(RED, GREEN, id="42")
    answer = await client.post(CLASSIFIER, json=named)
    assert answer.json()["id"] == "42"
    scores = outputs_of(answer)["scores"]
    for row, picture in zip(scores, (RED, GREEN), strict=True):
        own = await own_answer(client, "/classify", picture)
        assert {entry["name"]: entry["score"] for entry in own["classifications"]} == {
            name: pytest.approx(score, abs=1e-6) for name, score in zip(COLOURS, row.tolist(), strict=True)
        }


@pytest.mark.parametrize("parameters", [{}, {"binary_data_output": True}])
async def test_pictures_come_as_raw_elements_too(client: httpx.AsyncClient, parameters: dict[str, Any]) -> None:
    raw = elements(RED, GREEN)
    entry = {"name": "image", "shape": [2, 1], "datatype": "BYTES", "parameters": {"binary_data_size": len(raw)}}
    body, headers = framed({"inputs": [entry], "parameters": parameters}, raw)
    answer = await client.post(CLASSIFIER, content=body, headers=headers)
    assert (LENGTH in answer.headers) == bool(parameters)
    wanted = outputs_of(await client.post(CLASSIFIER, json=asking(RED, GREEN)))
    np.testing.assert_array_equal(outputs_of(answer)["scores"], wanted["scores"])


async def test_a_body_of_which_no_byte_is_json_is_one_picture(client: httpx.AsyncClient) -> None:
    answer = await client.post(CLASSIFIER, content=RED, headers={LENGTH: "0"})
    assert answer.headers["content-type"] == "application/octet-stream"
    assert COLOURS[int(outputs_of(answer)["scores"].argmax())] == "red"


async def test_detections_are_those_of_the_own_route_and_padded_to_the_longest(client: httpx.AsyncClient) -> None:
    found = outputs_of(await client.post(DETECTOR, json=asking(QUADRANTS, RED)))
    counts = found["num_detections"].tolist()
    assert found["detection_boxes"].shape == (2, max(counts), 4)
    for row, picture in enumerate((QUADRANTS, RED)):
        own = (await own_answer(client, "/detect", picture))["detections"]
        assert counts[row] == len(own) > 0
        for place, entry in enumerate(own):
            assert found["detection_classes"][row, place] == entry["class_id"]
            assert found["detection_scores"][row, place] == pytest.approx(entry["score"], abs=1e-6)
            assert found["detection_boxes"][row, place].tolist() == pytest.approx(entry["box"], abs=0.01)
    strict = asking(QUADRANTS, parameters={"max_detections": 1})
    assert outputs_of(await client.post(DETECTOR, json=strict))["num_detections"].tolist() == [1]


async def test_a_segmenter_gives_the_class_of_every_pixel(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v2/models/toy-segmenter/infer", json=asking(RED))
    class_map = outputs_of(answer)["class_map"]
    assert class_map.shape == (1, 48, 64)
    assert set(class_map.ravel().tolist()) == {COLOURS.index("red")}


@pytest.mark.parametrize("way", ["flat", "nested", "raw"])
async def test_pixels_get_the_outputs_of_the_graph(client: httpx.AsyncClient, way: str) -> None:
    tensor = np.stack([pixels(RGB["blue"]), pixels(RGB["green"])])
    entry = {**PIXELS, "shape": [2, 32, 32, 3]}
    if way == "raw":
        body, headers = framed(
            {"inputs": [{**entry, "parameters": {"binary_data_size": tensor.nbytes}}]}, tensor.tobytes()
        )
        answer = await client.post(DETECTOR, content=body, headers=headers)
    else:
        data = tensor.tolist() if way == "nested" else tensor.ravel().tolist()
        answer = await client.post(DETECTOR, json={"inputs": [{**entry, "data": data}]})
    outputs = outputs_of(answer)
    assert outputs["boxes"].shape == (2, 4, 4)
    assert [COLOURS[index] for index in outputs["scores"][:, 0].argmax(axis=1)] == ["blue", "green"]


async def test_the_best_classes_come_as_texts(client: httpx.AsyncClient) -> None:
    wanted = [{"name": "scores", "parameters": {"classification": 2}}]
    answer = await client.post(CLASSIFIER, json=asking(GREEN, outputs=wanted))
    (best, second) = outputs_of(answer)["scores"][0].tolist()
    own = (await own_answer(client, "/classify", GREEN))["classifications"]
    assert best == f"{own[0]['score']:f}:{own[0]['class_id']}:{own[0]['name']}"
    assert second.split(":")[2] == own[1]["name"]


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_a_body_may_be_compressed(client: httpx.AsyncClient, encoding: str, compress: Any) -> None:  # noqa: ANN401
    body = compress(json.dumps(asking(RED)).encode())
    answer = await client.post(CLASSIFIER, content=body, headers={"Content-Encoding": encoding})
    assert outputs_of(answer)["scores"].argmax() == COLOURS.index("red")


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress])
async def test_a_body_that_grows_too_large_when_it_is_unpacked_is_refused(served: Served, compress: Any) -> None:  # noqa: ANN401
    client, services = served
    encoding = {"Content-Encoding": "gzip" if compress is gzip.compress else "deflate"}
    bomb = compress(bytes(100_000_000))
    assert len(bomb) < services.settings.max_request_bytes
    answer = await client.post(CLASSIFIER, content=bomb, headers=encoding)
    assert answer.status_code == 413
    assert "200000" in answer.json()["error"]
    assert services.bodies.held == 0


async def test_the_timeout_of_a_request_is_its_deadline(client: httpx.AsyncClient) -> None:
    answer = await client.post(CLASSIFIER, json=asking(RED, parameters={"timeout": 1}))
    assert answer.status_code in (503, 504)
    assert list(answer.json()) == ["error"]


async def test_statistics_count_what_was_answered(tmp_path: Path) -> None:
    async with in_process(settings_for(tmp_path)) as (client, _):
        assert (await client.post(CLASSIFIER, json=asking(RED, GREEN))).status_code == 200
        assert (await client.post(CLASSIFIER, json=asking(BROKEN))).status_code == 400
        (entry,) = (await client.get("/v2/models/toy-classifier/stats")).json()["model_stats"]
        assert entry["inference_count"] == entry["inference_stats"]["success"]["count"] == 2
        assert entry["inference_stats"]["fail"]["count"] == 1
        assert entry["inference_stats"]["compute_infer"]["ns"] > 0
        assert 1 <= entry["execution_count"] <= 2
        assert len((await client.get("/v2/models/stats")).json()["model_stats"]) == 2


async def test_the_repository_is_changed_at_the_administration_only(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, admin_port=0, admin_token=TOKEN)
    write_classifier(tmp_path, version="2", turn=1)
    async with in_process(settings) as (client, services):
        transport = httpx.ASGITransport(create_admin_app(services))
        async with httpx.AsyncClient(transport=transport, base_url="http://admin") as admin:
            stranger = await admin.post("/v2/repository/models/toy-classifier/load")
            assert (stranger.status_code, list(stranger.json())) == (401, ["error"])
            admin.headers["Authorization"] = f"Bearer {TOKEN}"
            ambiguous = await admin.post("/v2/repository/models/toy-classifier/unload")
            assert (ambiguous.status_code, "?version=" in ambiguous.json()["error"]) == (400, True)
            unloaded = await admin.post("/v2/repository/models/toy-classifier/unload?version=2", json={})
            assert unloaded.status_code == 200, unloaded.text
            assert (await client.get("/v2/models/toy-classifier")).json()["versions"] == ["1"]
            last = await admin.post("/v2/repository/models/toy-classifier/unload")
            assert (last.status_code, "last" in last.json()["error"]) == (400, True)
            with_config = await admin.post(
                "/v2/repository/models/toy-classifier/load", json={"parameters": {"config": "{}"}}
            )
            assert (with_config.status_code, "'config'" in with_config.json()["error"]) == (400, True)
            loaded = await admin.post("/v2/repository/models/toy_classifier/load")
            assert loaded.status_code == 200, loaded.text
            assert (await client.get("/v2/models/toy-classifier")).json()["versions"] == ["1", "2"]
            for name in ("nothing", "..", "%2e%2e", "serving.json"):
                assert (await admin.post(f"/v2/repository/models/{name}/load")).status_code in (404, 405)
            index = (await admin.post("/v2/repository/index", json={"ready": True})).json()
            assert {(entry["name"], entry["version"]) for entry in index} >= {("toy-classifier", "2")}


@pytest.mark.parametrize("model", ["toy-classifier", "toy-detector", "toy-segmenter"])
async def test_all_outputs_that_metadata_list_may_be_asked_for_at_once(client: httpx.AsyncClient, model: str) -> None:
    metadata = (await client.get(f"/v2/models/{model}")).json()
    (wanted,) = metadata["inputs"]
    shape = [1, *wanted["shape"][1:]]
    pixels = {**wanted, "shape": shape, "data": [0] * int(np.prod(shape))}
    images = {"name": wanted["name"], "datatype": "BYTES", "shape": [1], "data": [text(RED)]}
    for given, outputs in (
        (pixels, metadata["outputs"]),
        (images, metadata["parameters"]["encoded_images_outputs"]),
    ):
        asked = [{"name": output["name"]} for output in outputs]
        answer = (await client.post(f"/v2/models/{model}/infer", json={"inputs": [given], "outputs": asked})).json()
        assert [(entry["name"], entry["datatype"]) for entry in answer["outputs"]] == [
            (output["name"], output["datatype"]) for output in outputs
        ]
