import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image as PillowImage
from pycocotools import mask

from emo_serve.api.wire.schemas import SegmentAnswer, SegmentAnswers
from tests.api.test_predict import problem
from tests.serving import in_process, settings_for
from tests.support import encode_image, oriented_jpeg, plain, quadrants, write_classifier

pytestmark = pytest.mark.anyio
PNG = {"content-type": "image/png"}
FOUR = encode_image(quadrants("red", "green", "blue", "red", side=64))


async def post(
    client: httpx.AsyncClient, query: Mapping[str, Any] | None = None, content: bytes = FOUR, accept: str | None = None
) -> httpx.Response:
    headers = PNG | ({"accept": accept} if accept else {})
    return await client.post("/segment", params=query, content=content, headers=headers)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
async def test_every_pixel_is_told_with_areas_and_masks(client: httpx.AsyncClient) -> None:
    answer = SegmentAnswer.model_validate_json((await post(client)).content)
    assert answer.model.name == "toy-segmenter"
    assert (answer.image.width, answer.image.height) == (64, 64)
    assert answer.classes[0].name == "red"
    assert sum(entry.pixels for entry in answer.classes) == 64 * 64
    assert sum(entry.share for entry in answer.classes) == pytest.approx(1, abs=1e-5)
    green = next(entry for entry in answer.classes if entry.name == "green")
    pixels = mask.decode(green.rle.model_dump())
    assert pixels[:31, 33:].all()
    assert not pixels[33:].any()


@pytest.mark.parametrize("orientation", [1, 6])
async def test_the_map_has_the_size_and_the_frame_that_a_person_sees(
    client: httpx.AsyncClient, orientation: int
) -> None:
    photo = oriented_jpeg(quadrants("red", "green", "blue", "red", side=64), orientation)
    response = await post(client, content=photo, accept="image/png")
    assert response.headers["content-type"] == "image/png"
    with PillowImage.open(io.BytesIO(response.content)) as page:
        assert page.mode == "P"
        labels = np.asarray(page)
        shown = np.asarray(page.convert("RGB"))
    assert labels.shape == ((801, 1601) if orientation == 1 else (1601, 801))
    upright = labels if orientation == 1 else np.rot90(labels)  # back as it is stored
    assert [upright[200, 400], upright[200, 1200], upright[600, 400], upright[600, 1200]] == [0, 1, 2, 0]
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) == 3


@pytest.mark.parametrize(
    ("query", "accept", "media_type"),
    [
        ({}, "image/jpeg", "image/jpeg"),
        ({"format": "overlay"}, "image/jpeg", "image/jpeg"),
        ({"format": "overlay"}, "image/png", "image/png"),
        ({"format": "overlay"}, None, "image/png"),
    ],
)
async def test_the_overlay_shows_the_picture_under_colours(
    client: httpx.AsyncClient, query: dict[str, str], accept: str | None, media_type: str
) -> None:
    image = plain("black", 300, 200)
    image[:, 150:] = (0, 0, 200)
    response = await post(client, query, encode_image(image), accept)
    assert response.headers["content-type"] == media_type
    with PillowImage.open(io.BytesIO(response.content)) as page:
        assert page.size == (300, 200)
        assert page.mode == "RGB"
        pixels = np.asarray(page).astype(int)
    assert pixels[190, 290, 2] > pixels[190, 10, 2]  # the blue of the picture shines through
    assert pixels[190, 10].sum() > 50  # and its black is coloured


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "image/png;q=0.5, application/json"])
async def test_without_a_wish_the_answer_is_json(client: httpx.AsyncClient, accept: str | None) -> None:
    assert (await post(client, accept=accept)).headers["content-type"] == "application/json"


async def test_what_cannot_be_produced_is_refused(client: httpx.AsyncClient) -> None:
    problem(await post(client, accept="image/webp"), 406, "not-acceptable")
    problem(await post(client, {"format": "overlay"}, accept="application/json"), 406, "not-acceptable")
    found = problem(await post(client, {"format": "mask"}), 422, "invalid-parameter")
    assert "one of labels, overlay" in found.detail
    problem(await post(client, {"top_k": 3}), 422, "invalid-parameter")
    problem(await post(client, content=b"broken", accept="image/png"), 415, "unsupported-media-type")


async def test_several_images_are_answered_each_for_itself_and_only_as_json(client: httpx.AsyncClient) -> None:
    files = [("file", ("a.png", FOUR, "image/png")), ("file", ("b.png", b"broken", "image/png"))]
    answers = SegmentAnswers.model_validate_json((await client.post("/segment", files=files)).content)
    assert isinstance(answers.results[0], SegmentAnswer)
    assert not isinstance(answers.results[1], SegmentAnswer)
    assert answers.results[1].error.status == 415
    problem(await client.post("/segment", files=files, headers={"accept": "image/png"}), 406, "not-acceptable")
    found = await client.post("/segment", files=files, params={"format": "overlay"})
    assert "allowed is one image" in problem(found, 422, "invalid-parameter").detail


async def test_a_model_of_another_task_does_not_segment(client: httpx.AsyncClient) -> None:
    found = problem(await post(client, {"model": "toy-classifier"}), 404, "model-not-found")
    assert "there are: toy-segmenter" in found.detail


async def test_a_server_without_a_segmenter_says_so_and_is_ready(tmp_path: Path) -> None:
    write_classifier(tmp_path)
    async with in_process(settings_for(tmp_path)) as (client, _):
        assert problem(await post(client), 404, "model-not-found").detail == (
            "No model serves segment. There are: toy-classifier for classify."
        )
        assert (await client.get("/readyz")).status_code == 200


async def test_the_model_list_names_the_task(client: httpx.AsyncClient) -> None:
    tasks = {model["name"]: model["task"] for model in (await client.get("/models")).json()["models"]}
    assert tasks["toy-segmenter"] == "segment"
