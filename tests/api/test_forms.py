"""Fields beside the file in a form: parameters are taken, all else is passed over."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving import in_process, settings_for
from tests.support import encode_image, plain, quadrants, write_classifier

pytestmark = pytest.mark.anyio

RED = ("a.png", encode_image(plain("red")), "image/png")
QUADRANTS = ("q.png", encode_image(quadrants("red", "green", "blue", "white")), "image/png")


async def ask(client: httpx.AsyncClient, path: str, picture: tuple[str, bytes, str] = RED, **fields: Any) -> Any:  # noqa: ANN401
    answer = await client.post(path, files={"file": picture}, data=fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_parameter_in_the_form_counts_as_one_in_the_query(client: httpx.AsyncClient) -> None:
    assert len((await ask(client, "/classify", top_k="1"))["classifications"]) == 1
    assert len((await ask(client, "/classify?score_threshold=0", top_k="2"))["classifications"]) == 2
    found = await ask(client, "/detect", QUADRANTS, classes=["red", "blue"], box_format="xywh", units="normalized")
    assert {entry["name"] for entry in found["detections"]} == {"red", "blue"}
    assert (found["box_format"], found["units"]) == ("xywh", "normalized")
    coco = await ask(client, "/detect?classes=red", QUADRANTS, classes="green", format="coco")
    assert sorted(entry["category_id"] for entry in coco) == [0, 1]


async def test_other_fields_and_empty_ones_are_passed_over(client: httpx.AsyncClient) -> None:
    plainly = await ask(client, "/classify")
    assert (
        await ask(client, "/classify", note="hello", submit="Upload", top_k="", model="", iou_threshold="7") == plainly
    )


@pytest.mark.parametrize(
    ("path", "fields", "detail"),
    [
        ("/classify", {"top_k": "0"}, "top_k = '0': allowed is an integer from 1 to 1000"),
        ("/classify?top_k=3", {"top_k": "3"}, "top_k is given more than once"),
        ("/classify", {"top_k": ["3", "4"]}, "top_k is given more than once"),
        ("/detect", {"classes": "zebra"}, "allowed are the labels of the model"),
        ("/detect", {"format": "coco", "units": "normalized"}, "with format=coco allowed is 'pixel'"),
        ("/classify?typo=1", {}, "Unknown parameter 'typo'"),
    ],
)
async def test_a_wrong_parameter_in_the_form_is_refused_as_in_the_query(
    client: httpx.AsyncClient, path: str, fields: dict[str, Any], detail: str
) -> None:
    answer = await client.post(path, files={"file": QUADRANTS}, data=fields)
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:emo-serve:problem:invalid-parameter")
    assert detail in answer.json()["detail"]


async def test_the_form_may_name_the_model_and_its_version(tmp_path: Path) -> None:
    for name, version in (("a", "1"), ("a", "2"), ("b", "1")):
        write_classifier(tmp_path, name, version)
    async with in_process(settings_for(tmp_path)) as (client, services):
        for path, fields in (("/classify", {"model": "a", "version": "1"}), ("/classify?model=a", {"version": "1"})):
            assert (await ask(client, path, RED, **fields))["model"] == {"name": "a", "version": "1"}
        assert (await ask(client, "/classify", model="b"))["model"]["name"] == "b"
        without = await client.post("/classify", files={"file": RED}, data={"note": "x"})
        assert (without.status_code, without.json()["type"]) == (404, "urn:emo-serve:problem:model-not-found")
        for fields in ({"model": "c"}, {"model": "a", "version": "3"}):
            answer = await client.post("/classify?top_k=1", files={"file": RED}, data=fields)
            assert answer.status_code == 404, answer.text
        for deployment in services.catalog.all():
            await deployment.retire()  # ends at once: nobody is let in who has not left


async def test_boxes_of_all_classes_may_give_way_to_each_other(client: httpx.AsyncClient) -> None:
    everything = {"score_threshold": "0", "iou_threshold": "0.5"}
    picture = ("q.png", encode_image(quadrants("red", "green", "blue", "white")), "image/png")
    among = await ask(client, "/detect?class_agnostic=true", picture, **everything)
    assert among == await ask(client, "/detect", picture, class_agnostic="true", **everything)
    assert len(among["detections"]) == 3
