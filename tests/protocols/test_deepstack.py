"""DeepStack's and CodeProject.AI's interface, with the requests that cameras' programs send."""

import hashlib
from pathlib import Path

import httpx
import pytest

from tests.protocols.pictures import BROKEN, QUADRANTS, RED, own_answer
from tests.protocols.seeds import FORM, form
from tests.serving import in_process, settings_for

pytestmark = pytest.mark.anyio

DETECTION, CUSTOM = "/v1/vision/detection", "/v1/vision/custom/toy-detector"
KEY = "a-key-of-alice"


@pytest.mark.parametrize("path", [DETECTION, CUSTOM])
async def test_objects_are_those_of_the_own_route_the_best_first(client: httpx.AsyncClient, path: str) -> None:
    own = (await own_answer(client, "/detect?score_threshold=0.4", QUADRANTS))["detections"]
    content = (await client.post(path, files={"image": QUADRANTS}, data={"api_key": ""})).json()
    assert content["success"] is True
    assert content["count"] == len(content["predictions"]) == len(own) > 1
    for found, expected in zip(content["predictions"], own, strict=True):
        corners = [found["x_min"], found["y_min"], found["x_max"], found["y_max"]]
        assert (found["label"], found["confidence"]) == (expected["name"], expected["score"])
        assert corners == [round(value) for value in expected["box"]]
        assert all(isinstance(corner, int) for corner in corners)
    assert content["inferenceMs"] <= content["processMs"]


async def test_a_part_without_a_content_type_or_a_file_name_is_a_picture(client: httpx.AsyncClient) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + RED + b"\r\n--x--\r\n"
    assert (await client.post(DETECTION, content=body, headers=FORM)).json()["success"] is True


async def test_only_what_is_confident_enough_is_answered(client: httpx.AsyncClient) -> None:
    none = await client.post(DETECTION, files={"image": RED}, data={"min_confidence": "1.0"})
    assert none.json()["success"] is True
    for wrong in ("2", "-1", "nan", "much"):
        answer = await client.post(DETECTION, files={"image": RED}, data={"min_confidence": wrong})
        assert (answer.status_code, answer.json()["success"]) == (400, False)
        assert "from 0 to 1" in answer.json()["error"]


async def test_there_are_never_more_objects_than_a_client_has_room_for(client: httpx.AsyncClient) -> None:
    answer = await client.post(DETECTION, files={"image": QUADRANTS}, data={"min_confidence": "0"})
    assert len(answer.json()["predictions"]) <= 20


async def test_a_scene_is_the_best_class(client: httpx.AsyncClient) -> None:
    best = (await own_answer(client, "/classify", RED))["classifications"][0]
    content = (await client.post("/v1/vision/scene", files={"image": RED})).json()
    assert (content["label"], content["confidence"]) == (best["name"], pytest.approx(best["score"], abs=1e-6))


@pytest.mark.parametrize("data", [None, {"api_key": "x"}])
async def test_detectors_are_listed_as_custom_models(client: httpx.AsyncClient, data: dict[str, str] | None) -> None:
    assert (await client.post("/v1/vision/custom/list", data=data)).json()["models"] == ["toy-detector"]


async def test_there_is_never_an_update(client: httpx.AsyncClient) -> None:
    content = (await client.get("/v1/status/updateavailable")).json()
    assert (content["success"], content["updateAvailable"]) == (True, False)
    assert set(content["version"]) == {"major", "minor", "patch"}


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "reason"),
    [
        (DETECTION, form("image", BROKEN), FORM, 400, ""),
        (DETECTION, form("image", b"nothing"), FORM, 400, "allowed are JPEG"),
        (DETECTION, form("image", b"http://x/y.jpg"), FORM, 400, "allowed are JPEG"),
        (DETECTION, form("picture", RED), FORM, 400, "'image'"),
        (DETECTION, form("image", RED)[:-9], FORM, 400, "multipart"),
        (DETECTION, b"", {}, 400, "'image'"),
        (DETECTION, RED, {"content-type": "image/png"}, 400, "multipart"),
        (DETECTION, b"a=b", {"content-type": "application/x-www-form-urlencoded"}, 400, "'image'"),
        (DETECTION, b"a&" * 200, {"content-type": "application/x-www-form-urlencoded"}, 400, "100 fields"),
        ("/v1/vision/custom/nothing", form("image", RED), FORM, 404, "toy-detector"),
        ("/v1/vision/custom/toy-classifier", form("image", RED), FORM, 404, "toy-detector"),
        ("/v1/vision/face", form("image", RED), FORM, 404, "/v1/vision/detection"),
    ],
)
async def test_what_is_wrong_is_named_in_the_protocols_error(
    client: httpx.AsyncClient, path: str, body: bytes, headers: dict[str, str], status: int, reason: str
) -> None:
    answer = await client.post(path, content=body, headers=headers)
    content = answer.json()
    assert (answer.status_code, content["success"], content["code"]) == (status, False, status), answer.text
    assert reason in content["error"]


async def test_bodies_of_strangers_take_a_part_of_the_room_only(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    keys = tmp_path / "keys"
    keys.write_text(f"alice:{hashlib.sha256(KEY.encode()).hexdigest()}\n", encoding="utf-8")
    settings = settings_for(tmp_path / "models", api_keys_file=keys, max_request_bytes=200_000)
    async with in_process(settings) as (client, services):
        room = settings.max_inflight_bytes // 8
        services.unkeyed_bodies.take(room)
        refused = await client.post(DETECTION, files={"image": RED}, data={"api_key": KEY})
        assert (refused.status_code, refused.json()["success"]) == (503, False)
        with_header = await client.post(DETECTION, files={"image": RED}, headers={"X-API-Key": KEY})
        assert with_header.status_code == 200
        assert services.bodies.held == room
        services.unkeyed_bodies.give_back(room)
        assert services.bodies.held == 0


async def test_a_key_may_be_a_field_of_the_form_and_counts_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    keys = tmp_path / "keys"
    keys.write_text(f"alice:{hashlib.sha256(KEY.encode()).hexdigest()}\n", encoding="utf-8")
    settings = settings_for(tmp_path / "models", api_keys_file=keys, api_key_requests_per_second=0.001)
    async with in_process(settings) as (client, _):
        for key in ("", "another", KEY + "x", "\u00e9\u20ac"):
            refused = await client.post(CUSTOM, files={"image": RED}, data={"api_key": key})
            assert (refused.status_code, refused.json()["success"]) == (401, False)
        unknown = await client.post("/v1/vision/custom/nothing", files={"image": RED})
        assert unknown.status_code == 401  # what there is, a stranger is not told
        answer = await client.post(DETECTION, files={"image": RED}, data={"api_key": KEY})
        assert answer.status_code == 200, answer.text
        too_often = await client.post("/v1/vision/custom/list", data={"api_key": KEY})
        assert (too_often.status_code, too_often.json()["success"]) == (429, False)
        elsewhere = await client.post("/detect", files={"file": RED}, data={"api_key": KEY})
        assert elsewhere.status_code == 401
