"""Hugging Face's inference API: its requests, and the answers of its image tasks."""

import base64
import io
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image as PillowImage

from emo_serve.settings import Settings
from tests.protocols.pictures import BROKEN, GREEN, QUADRANTS, RED, own_answer, text
from tests.serving import in_process, settings_for
from tests.support import COLOURS, write_classifier, write_detector, write_segmenter

pytestmark = pytest.mark.anyio

CLASSIFIER, DETECTOR, SEGMENTER = "/models/toy-classifier", "/models/toy-detector", "/models/toy-segmenter"


@pytest.mark.parametrize("path", [CLASSIFIER, "/"])
async def test_a_picture_is_classified_as_by_the_own_route(client: httpx.AsyncClient, path: str) -> None:
    own = (await own_answer(client, "/classify", RED))["classifications"]
    wanted = [{"label": entry["name"], "score": pytest.approx(entry["score"], abs=1e-6)} for entry in own]
    raw = await client.post(path, content=RED, headers={"content-type": "image/png"})
    encoded = await client.post(path, json={"inputs": text(RED)})
    assert raw.json() == encoded.json() == wanted
    best = await client.post(path, json={"inputs": text(RED), "parameters": {"top_k": 1}})
    assert best.json() == wanted[:1]


async def test_several_pictures_get_a_list_of_answers(client: httpx.AsyncClient) -> None:
    answer = await client.post(CLASSIFIER, json={"inputs": [text(RED), text(GREEN)], "parameters": {"top_k": 1}})
    assert [entries[0]["label"] for entries in answer.json()] == ["red", "green"]


async def test_objects_are_those_of_the_own_route_in_whole_pixels(client: httpx.AsyncClient) -> None:
    own = (await own_answer(client, "/detect", QUADRANTS))["detections"]
    found = (await client.post(DETECTOR, content=QUADRANTS, headers={"content-type": "image/png"})).json()
    assert [(entry["label"], entry["score"]) for entry in found] == [(entry["name"], entry["score"]) for entry in own]
    for entry, expected in zip(found, own, strict=True):
        assert list(entry["box"]) == ["xmin", "ymin", "xmax", "ymax"]
        assert list(entry["box"].values()) == [round(value) for value in expected["box"]]
    none = await client.post(DETECTOR, json={"inputs": text(RED), "parameters": {"threshold": 1}})
    assert none.status_code == 200


async def test_a_segment_is_a_mask_of_the_pictures_size(client: httpx.AsyncClient) -> None:
    own = (await own_answer(client, "/segment", RED))["classes"]
    parameters = {"subtask": "semantic"}
    segments = (await client.post(SEGMENTER, json={"inputs": text(RED), "parameters": parameters})).json()
    assert [entry["label"] for entry in segments] == [entry["name"] for entry in own]
    for entry, expected in zip(segments, own, strict=True):
        mask = PillowImage.open(io.BytesIO(base64.b64decode(entry["mask"])))
        assert (mask.mode, mask.size) == ("L", (64, 48))
        assert np.count_nonzero(np.asarray(mask) == 255) == expected["pixels"]


async def test_masks_of_very_many_pixels_are_refused(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, max_image_pixels=64 * 48)
    write_segmenter(tmp_path)
    async with in_process(settings) as (client, _):
        for count, status in ((1, 200), (4, 200), (5, 413)):
            answer = await client.post(SEGMENTER, json={"inputs": [text(RED)] * count})
            assert answer.status_code == status, answer.text


@pytest.mark.parametrize("tasks", ["detect", "both"])
async def test_where_no_model_is_named_the_default_of_the_first_task_with_models_answers(
    tmp_path: Path, tasks: str
) -> None:
    write_detector(tmp_path)
    if tasks == "both":
        for name in ("one", "two"):  # and neither is the default
            write_classifier(tmp_path, name)
    async with in_process(Settings(models=tmp_path)) as (client, _):
        answer = await client.post("/", content=QUADRANTS)
        assert answer.status_code == (200 if tasks == "detect" else 404)
        assert ("box" in answer.text) if tasks == "detect" else ("one, two" in answer.text)


@pytest.mark.parametrize(
    ("path", "content", "status", "reason"),
    [
        (CLASSIFIER, {}, 422, "'inputs'"),
        (CLASSIFIER, {"inputs": []}, 422, "'inputs'"),
        (CLASSIFIER, {"inputs": [text(RED), 1]}, 422, "'inputs'"),
        (CLASSIFIER, {"inputs": text(RED)[:-3] + "%"}, 422, "base64"),
        (CLASSIFIER, {"inputs": text(BROKEN)}, 422, ""),
        (CLASSIFIER, {"inputs": [text(RED), text(BROKEN)]}, 422, "Image 1"),
        (CLASSIFIER, {"inputs": [text(RED)] * 5}, 422, "1 to 4"),
        (CLASSIFIER, {"inputs": text(RED), "parameters": {"top_k": 0}}, 422, "from 1 to 1000"),
        (CLASSIFIER, {"inputs": text(RED), "parameters": {"threshold": 0.5}}, 422, "top_k"),
        (CLASSIFIER, {"inputs": text(RED), "parameters": {"function_to_apply": "tanh"}}, 422, "tanh"),
        (CLASSIFIER, {"inputs": text(RED), "parameters": [1]}, 422, "an object"),
        (DETECTOR, {"inputs": text(RED), "parameters": {"threshold": 2}}, 422, "from 0 to 1"),
        (SEGMENTER, {"inputs": text(RED), "parameters": {"subtask": "panoptic"}}, 422, "panoptic"),
        ("/models/nothing", {"inputs": text(RED)}, 404, COLOURS[0][:0]),
    ],
)
async def test_what_is_wrong_is_named_in_the_protocols_error(
    client: httpx.AsyncClient, path: str, content: dict[str, object], status: int, reason: str
) -> None:
    answer = await client.post(path, json=content)
    assert (answer.status_code, list(answer.json())) == (status, ["error"]), answer.text
    assert reason in answer.json()["error"]


async def test_the_own_routes_of_the_same_paths_are_as_before(client: httpx.AsyncClient) -> None:
    assert (await client.get("/")).headers["content-type"].startswith("text/html")
    assert (await client.get(CLASSIFIER)).json()["labels"] == list(COLOURS)
    assert (await client.delete(CLASSIFIER)).json()["type"] == "urn:emo-serve:problem:method-not-allowed"
