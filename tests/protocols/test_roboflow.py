"""roboflow/inference's interface, with the requests that its clients send."""

import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.protocols.pictures import BROKEN, QUADRANTS, RED, own_answer, text
from tests.protocols.seeds import FORM, JSON, form
from tests.serving import in_process, settings_for

pytestmark = pytest.mark.anyio

DETECTION, CLASSIFICATION, LEGACY = "/infer/object_detection", "/infer/classification", "/toy-detector/1"
KEY = "a-key-of-alice"


def picture(image: bytes) -> dict[str, str]:
    return {"type": "base64", "value": text(image)}


def check_objects(content: dict[str, Any], own: dict[str, Any]) -> None:
    assert content["image"] == {"width": own["image"]["width"], "height": own["image"]["height"]}
    assert content["time"] > 0
    assert len(content["predictions"]) == len(own["detections"]) > 1
    for found, expected in zip(content["predictions"], own["detections"], strict=True):
        left, top, right, bottom = expected["box"]
        assert (found["class"], found["class_id"]) == (expected["name"], expected["class_id"])
        assert found["confidence"] == pytest.approx(expected["score"], abs=1e-6)
        assert (found["x"], found["y"]) == pytest.approx(((left + right) / 2, (top + bottom) / 2), abs=1e-3)
        assert (found["width"], found["height"]) == pytest.approx((right - left, bottom - top), abs=1e-3)
    assert len({found["detection_id"] for found in content["predictions"]}) == len(content["predictions"])


@pytest.mark.parametrize("model_id", ["toy-detector", "toy-detector/1", None])
async def test_objects_are_those_of_the_own_route_by_their_centres(
    client: httpx.AsyncClient, model_id: str | None
) -> None:
    own = await own_answer(client, "/detect", QUADRANTS)
    answer = await client.post(DETECTION, json={"model_id": model_id, "image": picture(QUADRANTS)})
    check_objects(answer.json(), own)


@pytest.mark.parametrize("how", ["base64", "form"])
async def test_the_older_route_takes_base64_or_a_form_and_shares_in_percent(
    client: httpx.AsyncClient, how: str
) -> None:
    own = await own_answer(client, "/detect?score_threshold=0.5", QUADRANTS)
    body = text(QUADRANTS).encode() if how == "base64" else form("file", QUADRANTS)
    headers = {"content-type": "application/x-www-form-urlencoded"} if how == "base64" else FORM
    for query in ("confidence=50&overlap=30&api_key=None", "confidence=0.5&format=json"):
        check_objects((await client.post(f"{LEGACY}?{query}", content=body, headers=headers)).json(), own)
    filtered = await client.post(f"{LEGACY}?classes=red,green", content=body, headers=headers)
    assert {found["class"] for found in filtered.json()["predictions"]} == {"red", "green"}


async def test_all_classes_are_answered_the_best_first_and_several_images_as_a_list(client: httpx.AsyncClient) -> None:
    own = (await own_answer(client, "/classify", RED))["classifications"]
    images = [picture(RED), picture(QUADRANTS)]
    answers = (await client.post(CLASSIFICATION, json={"model_id": "toy-classifier", "image": images})).json()
    assert len(answers) == 2
    assert [entry["class"] for entry in answers[0]["predictions"]] == [entry["name"] for entry in own]
    assert (answers[0]["top"], answers[0]["confidence"]) == (own[0]["name"], pytest.approx(own[0]["score"], abs=1e-6))
    sure = {"model_id": "toy-classifier", "image": picture(RED), "confidence": 0.5, "disable_active_learning": True}
    assert len((await client.post(CLASSIFICATION, json=sure)).json()["predictions"]) == 1


async def test_parameters_choose_what_is_answered(client: httpx.AsyncClient) -> None:
    own = await own_answer(client, "/detect?classes=red&max_detections=1&class_agnostic=true", QUADRANTS)
    wanted = {"class_filter": ["red"], "max_detections": 1, "class_agnostic_nms": True, "confidence": "default"}
    content = (await client.post(DETECTION, json={"image": picture(QUADRANTS), **wanted})).json()
    assert [entry["class"] for entry in content["predictions"]] == [entry["name"] for entry in own["detections"]]


async def test_the_registry_has_every_name_with_and_without_its_version(client: httpx.AsyncClient) -> None:
    models = {entry["model_id"]: entry["task_type"] for entry in (await client.get("/model/registry")).json()["models"]}
    assert models == {
        "toy-detector": "object-detection",
        "toy-detector/1": "object-detection",
        "toy-classifier": "classification",
        "toy-classifier/1": "classification",
    }
    assert (await client.post("/model/add", json={"model_id": "toy-detector/1"})).status_code == 200
    refused = await client.post("/model/add", json={"model_id": "coco/3"})
    assert (refused.status_code, "toy-detector" in refused.json()["message"]) == (404, True)


@pytest.mark.parametrize(
    ("path", "content", "status", "reason"),
    [
        (DETECTION, {"image": picture(BROKEN)}, 400, ""),
        (DETECTION, {"image": picture(b"nothing")}, 400, "allowed are JPEG"),
        (DETECTION, {"image": {"type": "url", "value": "http://x/y.jpg"}}, 400, "not fetched"),
        (DETECTION, {"image": {"type": "numpy", "value": "gASV"}}, 400, '"base64"'),
        (DETECTION, {"image": {"type": "base64", "value": 3}}, 400, '"base64"'),
        (DETECTION, {}, 400, "'image'"),
        (DETECTION, {"image": []}, 400, "0 images"),
        (DETECTION, {"image": picture(RED), "confidence": 2}, 400, "from 0 to 1"),
        (DETECTION, {"image": picture(RED), "class_filter": ["car"]}, 400, "car"),
        (DETECTION, {"image": picture(RED), "visualize_predictions": True}, 400, "allowed is false"),
        (DETECTION, {"image": picture(RED), "tile": 3}, 400, "iou_threshold"),
        (DETECTION, {"image": picture(RED), "model_id": 3}, 400, "'model_id'"),
        (DETECTION, {"image": picture(RED), "model_id": "toy-classifier"}, 404, "toy-detector"),
        (CLASSIFICATION, {"image": picture(RED), "model_id": "toy-classifier/7"}, 404, "toy-classifier"),
        (CLASSIFICATION, {"image": picture(RED), "iou_threshold": 0.5}, 400, "confidence"),
        ("/infer/workflows", {}, 404, DETECTION),
        ("/nothing/1", {}, 404, "toy-detector"),
        ("/toy-segmenter/1", {}, 400, "base64"),
        (f"{LEGACY}?image=http://x/y.jpg", {}, 400, "not fetched"),
        (f"{LEGACY}?format=image", {}, 400, "allowed is json"),
        (f"{LEGACY}?confidence=much", {}, 400, "from 0 to 1"),
    ],
)
async def test_what_is_wrong_is_named_in_the_protocols_error(
    client: httpx.AsyncClient, path: str, content: dict[str, Any], status: int, reason: str
) -> None:
    answer = await client.post(path, json=content)
    assert (answer.status_code, list(answer.json())) == (status, ["message"]), answer.text
    assert reason in answer.json()["message"]


async def test_a_segmenter_has_no_words_here(client: httpx.AsyncClient) -> None:
    answer = await client.post("/toy-segmenter/1", content=form("file", RED), headers=FORM)
    assert (answer.status_code, "own route" in answer.json()["message"]) == (400, True), answer.text


async def test_a_key_may_be_in_the_json_or_in_the_query(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    keys = tmp_path / "keys"
    keys.write_text(f"alice:{hashlib.sha256(KEY.encode()).hexdigest()}\n", encoding="utf-8")
    async with in_process(settings_for(tmp_path / "models", api_keys_file=keys)) as (client, _):
        for key in (None, "", "None", "another", "\u00e9\ud800".encode("utf-8", "replace").decode(), 3):
            refused = await client.post(DETECTION, json={"image": picture(RED), "api_key": key})
            assert (refused.status_code, list(refused.json())) == (401, ["message"])
        assert (await client.post(DETECTION, content=b"{", headers=JSON)).status_code == 401
        assert (await client.post(DETECTION, json={"image": picture(RED), "api_key": KEY})).status_code == 200
        body = text(RED).encode()
        assert (await client.post(f"{LEGACY}?api_key={KEY}x", content=body)).status_code == 401
        assert (await client.post(f"{LEGACY}?api_key={KEY}", content=body)).status_code == 200
        assert (await client.get(f"/model/registry?api_key={KEY}")).status_code == 200
        assert (await client.get("/model/registry?api_key=None")).status_code == 401
        assert (await client.post(f"/detect?api_key={KEY}", content=RED)).status_code == 401


async def test_what_concerns_masks_and_key_points_has_no_effect_on_others(client: httpx.AsyncClient) -> None:
    query = "allow_reduced_mask_resolution=False&mask_decode_mode=accurate&tradeoff_factor=0&keypoint_confidence=0.5"
    own = await own_answer(client, "/detect", QUADRANTS)
    answer = await client.post(f"{LEGACY}?{query}&response_mask_format=rle", content=text(QUADRANTS))
    check_objects(answer.json(), own)
