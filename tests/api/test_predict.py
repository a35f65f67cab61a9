import io
from collections.abc import Mapping
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image as PillowImage

from emo_serve.api.wire.schemas import ClassifyAnswer, DetectAnswer, ProblemDocument
from emo_serve.engine.execution.pipeline import Pipeline
from emo_serve.engine.registry.deployment import Deployment
from emo_serve.errors import InvalidParameter
from emo_serve.labels import class_names
from tests.support import encode_image, oriented_jpeg, plain, quadrants

pytestmark = pytest.mark.anyio
PNG = {"content-type": "image/png"}
RED = encode_image(plain("red"))
FOUR = encode_image(quadrants("red", "green", "blue", "black", side=64))


async def post(
    client: httpx.AsyncClient,
    path: str,
    query: Mapping[str, Any] | None = None,
    content: bytes = FOUR,
    accept: str | None = None,
) -> httpx.Response:
    return await client.post(path, params=query, content=content, headers=PNG | ({"accept": accept} if accept else {}))


def problem(response: httpx.Response, status: int, name: str) -> ProblemDocument:
    assert response.headers["content-type"] == "application/problem+json"
    document = ProblemDocument.model_validate_json(response.content)
    assert (response.status_code, document.status) == (status, status), document
    assert document.type == f"urn:emo-serve:problem:{name}"
    assert document.request_id == response.headers["X-Request-Id"]
    return document


async def test_a_red_picture_is_classified_as_red(client: httpx.AsyncClient) -> None:
    answer = ClassifyAnswer.model_validate_json((await post(client, "/classify", content=RED)).content)
    assert (answer.model.name, answer.model.version) == ("toy-classifier", "1")
    assert (answer.image.width, answer.image.height) == (48, 40)
    assert (answer.classifications[0].class_id, answer.classifications[0].name) == (0, "red")
    assert sum(entry.score for entry in answer.classifications) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("place", "step", "name"),
    [(Deployment, "predict", "internal-error"), (Pipeline, "prepare", "inference-failed")],
    ids=["around an image", "in its thread"],
)
@pytest.mark.parametrize("images", [1, 2])
async def test_a_defect_is_a_500_that_tells_nothing_of_it(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, place: type, step: str, name: str, images: int
) -> None:
    def fail(*_: object) -> None:
        msg = "secret"
        raise RuntimeError(msg)

    monkeypatch.setattr(place, step, fail)
    parts = [("file", ("red.png", RED, "image/png"))] * images
    response = await client.post("/classify", files=parts)
    assert "secret" not in response.text
    if images > 1 and place is Pipeline:
        assert [entry["error"]["status"] for entry in response.json()["results"]] == [500, 500]
    else:
        problem(response, 500, name)
    monkeypatch.undo()
    assert (await post(client, "/classify", content=RED)).status_code == 200


async def test_top_k_and_score_threshold_shorten_the_list(client: httpx.AsyncClient) -> None:
    assert len((await post(client, "/classify", {"top_k": 2}, RED)).json()["classifications"]) == 2
    assert len((await post(client, "/classify", {"score_threshold": 0.5}, RED)).json()["classifications"]) == 1


async def test_three_quadrants_are_detected_where_they_are(client: httpx.AsyncClient) -> None:
    answer = DetectAnswer.model_validate_json((await post(client, "/detect")).content)
    assert (answer.box_format, answer.units) == ("xyxy", "pixel")
    assert {found.name: found.box for found in answer.detections} == {
        "red": (0, 0, 32, 32),
        "green": (32, 0, 64, 32),
        "blue": (0, 32, 32, 64),
    }


async def test_box_format_and_units_are_echoed_and_applied(client: httpx.AsyncClient) -> None:
    response = await post(client, "/detect", {"box_format": "cxcywh", "units": "normalized"})
    answer = DetectAnswer.model_validate_json(response.content)
    assert (answer.box_format, answer.units) == ("cxcywh", "normalized")
    assert {found.name: found.box for found in answer.detections}["green"] == (0.75, 0.25, 0.5, 0.5)


@pytest.mark.parametrize("orientation", [1, 6])
async def test_boxes_in_a_large_jpeg_are_in_its_pixels_at_whatever_fraction_it_was_decoded(
    client: httpx.AsyncClient, orientation: int
) -> None:
    photo = oriented_jpeg(quadrants("red", "green", "blue", "black", side=64), orientation)
    for full_decode in ("false", "true"):
        response = await post(client, "/detect", {"full_decode": full_decode, "score_threshold": 0.9}, photo)
        assert (';desc="1/8",' in response.headers["Server-Timing"]) == (full_decode == "false")
        answer = DetectAnswer.model_validate_json(response.content)
        assert (answer.image.width, answer.image.height) == ((1601, 801) if orientation == 1 else (801, 1601))
        boxes = {found.name: found.box for found in answer.detections}
        assert boxes == ({
            "red": (0, 0, 800.5, 400.5),
            "green": (800.5, 0, 1601, 400.5),
            "blue": (0, 400.5, 800.5, 801),
        } if orientation == 1 else {
            "red": (400.5, 0, 801, 800.5),
            "green": (400.5, 800.5, 801, 1601),
            "blue": (0, 0, 400.5, 800.5),
        })  # fmt: skip


async def test_the_pictures_drawn_are_whole(client: httpx.AsyncClient) -> None:
    large = encode_image(plain("red", 1000, 800), "JPEG")
    response = await post(client, "/detect", content=large, accept="image/png")
    assert PillowImage.open(io.BytesIO(response.content)).size == (1000, 800)


async def test_a_switch_that_is_neither_on_nor_off_is_refused_with_what_is_allowed(client: httpx.AsyncClient) -> None:
    found = problem(await post(client, "/classify", {"full_decode": "maybe"}), 422, "invalid-parameter")
    assert found.detail == "full_decode = 'maybe': allowed is true or false."


@pytest.mark.parametrize("classes", [["red", "blue"], ["red,blue"], ["blue, red", "red"]])
async def test_only_the_wanted_classes_are_found(client: httpx.AsyncClient, classes: list[str]) -> None:
    found = (await post(client, "/detect", {"classes": classes})).json()["detections"]
    assert {entry["name"] for entry in found} == {"red", "blue"}


def test_a_class_name_with_a_comma_can_be_asked_for_whole() -> None:
    labels = ("tabby, tabby cat", "car", "bus")
    assert class_names(["tabby, tabby cat", "car,bus"], labels) == labels
    with pytest.raises(InvalidParameter, match="allowed are"):
        class_names(["tabby"], labels)


async def test_an_unknown_class_is_refused_with_the_list_of_classes(client: httpx.AsyncClient) -> None:
    document = problem(await post(client, "/detect", {"classes": "purple"}), 422, "invalid-parameter")
    assert "'purple'" in document.detail
    assert "red, green, blue" in document.detail


async def test_max_detections_keeps_the_best(client: httpx.AsyncClient) -> None:
    assert len((await post(client, "/detect", {"max_detections": 1})).json()["detections"]) == 1


@pytest.mark.parametrize(
    ("path", "name", "value", "allowed"),
    [
        ("/classify", "top_k", "0", "an integer from 1 to 1000"),
        ("/classify", "top_k", "many", "an integer from 1 to 1000"),
        ("/classify", "top_k", "", "an integer from 1 to 1000"),
        ("/classify", "score_threshold", "1.01", "a number from 0 to 1"),
        ("/classify", "score_threshold", "nan", "a number from 0 to 1"),
        ("/classify", "model", "x" * 65, "text of 1 to 64 characters"),
        ("/classify", "model", "", "text of 1 to 64 characters"),
        ("/detect", "iou_threshold", "-0.1", "a number from 0 to 1"),
        ("/detect", "score_threshold", "inf", "a number from 0 to 1"),
        ("/detect", "max_detections", "1001", "an integer from 1 to 1000"),
        ("/detect", "box_format", "yxyx", "one of xyxy, xywh, cxcywh"),
        ("/detect", "units", "inches", "one of pixel, normalized"),
        ("/detect", "format", "voc", "one of json, coco"),
    ],
)
async def test_a_parameter_out_of_range_is_refused_by_name_value_and_range(
    client: httpx.AsyncClient, path: str, name: str, value: str, allowed: str
) -> None:
    document = problem(await post(client, path, {name: value}), 422, "invalid-parameter")
    assert document.model_extra == {"errors": [{"parameter": name, "value": value[:100], "allowed": allowed}]}
    assert f"{name} = {value!r}: allowed is {allowed}." in document.detail


async def test_a_mistyped_parameter_is_refused_with_the_names_that_are_allowed(client: httpx.AsyncClient) -> None:
    document = problem(await post(client, "/classify", {"topk": 3}), 422, "invalid-parameter")
    assert "'topk'" in document.detail
    assert "model, score_threshold, top_k, version" in document.detail


async def test_a_parameter_given_twice_is_refused(client: httpx.AsyncClient) -> None:
    problem(await post(client, "/classify", {"top_k": [3, 4]}), 422, "invalid-parameter")


@pytest.mark.parametrize(
    "query", [{"model": "nothing"}, {"version": "9"}, {"model": "toy-detector"}, {"version": "one"}]
)
async def test_an_unknown_model_or_version_is_404_and_names_what_is_there(
    client: httpx.AsyncClient, query: dict[str, str]
) -> None:
    document = problem(await post(client, "/classify", query), 404, "model-not-found")
    assert "toy-classifier" in document.detail


async def test_a_model_and_version_can_be_chosen(client: httpx.AsyncClient) -> None:
    assert (await post(client, "/detect", {"model": "toy-detector", "version": "1"})).status_code == 200


@pytest.mark.parametrize(
    ("content", "status", "name"),
    [
        (b"", 422, "image-undecodable"),
        (b"not an image", 415, "unsupported-media-type"),
        (FOUR[: len(FOUR) // 2], 422, "image-undecodable"),
    ],
)
async def test_what_is_no_image_is_refused(client: httpx.AsyncClient, content: bytes, status: int, name: str) -> None:
    for path in ("/classify", "/detect"):
        problem(await post(client, path, content=content), status, name)


@pytest.mark.parametrize(("accept", "image_format"), [("image/png", "PNG"), ("image/jpeg", "JPEG"), ("image/*", "PNG")])
async def test_accept_gets_the_picture_with_the_objects_drawn(
    client: httpx.AsyncClient, accept: str, image_format: str
) -> None:
    response = await post(client, "/detect", accept=accept)
    assert response.headers["content-type"] == f"image/{image_format.lower()}"
    picture = PillowImage.open(io.BytesIO(response.content))
    assert (picture.format, picture.size) == (image_format, (64, 64))
    assert np.asarray(picture).any()
    assert "infer;dur=" in response.headers["Server-Timing"]


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html, */*;q=0.1"])
async def test_accept_gets_json_where_nothing_else_is_asked(client: httpx.AsyncClient, accept: str) -> None:
    assert (await post(client, "/detect", accept=accept)).headers["content-type"] == "application/json"


async def test_what_cannot_be_produced_is_406(client: httpx.AsyncClient) -> None:
    problem(await post(client, "/detect", accept="image/webp"), 406, "not-acceptable")
    problem(await post(client, "/classify", accept="image/png"), 406, "not-acceptable")
    problem(await post(client, "/detect", {"format": "coco"}, accept="image/png"), 406, "not-acceptable")


async def test_a_picture_of_several_images_is_406(client: httpx.AsyncClient) -> None:
    files = [("file", ("a.png", FOUR)), ("file", ("b.png", RED))]
    problem(await client.post("/detect", files=files, headers={"accept": "image/png"}), 406, "not-acceptable")


async def test_a_picture_of_a_broken_image_is_a_problem(client: httpx.AsyncClient) -> None:
    problem(await post(client, "/detect", content=b"broken", accept="image/png"), 415, "unsupported-media-type")


@pytest.mark.parametrize("query", [{"box_format": "xyxy"}, {"units": "normalized"}])
async def test_coco_takes_no_other_box_format(client: httpx.AsyncClient, query: dict[str, str]) -> None:
    problem(await post(client, "/detect", {"format": "coco"} | query), 422, "invalid-parameter")
    assert (
        await post(client, "/detect", {"format": "coco", "box_format": "xywh", "units": "pixel"})
    ).status_code == 200


async def test_coco_leaves_broken_images_out_and_says_which(client: httpx.AsyncClient) -> None:
    files = [("file", ("a.png", b"broken")), ("file", ("b.png", FOUR))]
    response = await client.post("/detect", params={"format": "coco"}, files=files)
    assert {entry["image_id"] for entry in response.json()} == {1}
    assert response.headers["X-Failed-Images"] == "0"
    files = [("file", ("a.png", b"broken")), ("file", ("b.png", b"broken too"))]
    problem(await client.post("/detect", params={"format": "coco"}, files=files), 415, "unsupported-media-type")


async def test_more_images_than_allowed_are_refused(client: httpx.AsyncClient) -> None:
    files = [("file", ("a.png", RED))] * 5
    document = problem(await client.post("/classify", files=files), 422, "invalid-request")
    assert "at most 4" in document.detail
