"""The models that come with the repository answer sensibly about photos they have never seen."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from emo_serve.engine.repository.artefacts import scan
from emo_serve.settings import Settings
from tests.serving import Running, running
from tests.support import encode_image

MODELS = Path(__file__).parent.parent / "models"


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    server: Running
    with running(Settings(models=MODELS)) as server, httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def photo(name: str) -> NDArray[np.uint8]:
    sample = getattr(skimage.data, name)()
    pixels: NDArray[np.uint8] = sample[0] if isinstance(sample, tuple) else sample
    return pixels


def names(client: httpx.Client, name: str) -> list[str]:
    body = encode_image(photo(name), "JPEG")
    response = client.post("/classify", content=body, headers={"content-type": "image/jpeg"})
    assert response.status_code == 200
    return [entry["name"] for entry in response.json()["classifications"]]


def group(client: httpx.Client, name: str) -> str:
    body = encode_image(photo(name), "JPEG")
    found: str = client.post("/classify", content=body, headers={"content-type": "image/jpeg"}).json()["groups"][0][
        "name"
    ]
    return found


def test_every_model_of_the_repository_checks_out() -> None:
    found = scan(MODELS)
    assert not found.failures
    assert {(artefact.manifest.name, artefact.manifest.task) for artefact in found.artefacts} == {
        ("emo-1m", "classify"),
        ("ssdlite-emo-1m", "detect"),
    }


def test_a_photo_of_a_cat_is_a_cat(client: httpx.Client) -> None:
    assert names(client, "chelsea")[0] in {"tabby", "Egyptian cat", "tiger cat"}
    assert group(client, "chelsea") == "cat"


def test_a_photo_of_a_cup_of_coffee_is_an_espresso(client: httpx.Client) -> None:
    assert "espresso" in names(client, "coffee")


def test_a_portrait_is_a_person(client: httpx.Client) -> None:
    assert names(client, "astronaut")[0] == "person"


def test_a_photo_of_a_motorcycle_is_a_motorcycle(client: httpx.Client) -> None:
    assert names(client, "stereo_motorcycle")[0] == "motorcycle"
    assert group(client, "stereo_motorcycle") == "motorcycle"


def test_the_classifier_knows_everyday_words(client: httpx.Client) -> None:
    labels = client.get("/models/emo-1m").json()["labels"]
    assert len(labels) >= 350
    assert {"tabby", "airliner", "sports car", "espresso", "banana", "person", "Pomeranian", "sandal"} <= set(labels)
    assert {"horse", "cow", "motorcycle", "rose", "apple", "carrot"} <= set(labels)


def test_nobody_is_ever_called_an_ape(client: httpx.Client) -> None:
    labels = set(client.get("/models/emo-1m").json()["labels"])
    assert not labels & {"orangutan", "chimpanzee", "baboon"}
    assert "person" in labels


def test_every_card_says_what_the_model_learned_from_and_how_good_it_is() -> None:
    for path in MODELS.glob("*/*/manifest.json"):
        card = json.loads(path.read_text())["card"]
        assert card["metrics"]
        assert all(0 <= value <= 1 for value in card["metrics"].values())
        assert all(card[key] for key in ("training_data", "recipe", "intended_use", "terms"))


def test_a_photo_of_a_motorcycle_has_one_where_it_stands(client: httpx.Client) -> None:
    body = encode_image(photo("stereo_motorcycle"), "JPEG")
    found = client.post("/detect", content=body, headers={"content-type": "image/jpeg"}).json()["detections"]
    assert [entry["name"] for entry in found if entry["score"] > 0.5] == ["motorcycle"]
    np.testing.assert_allclose(found[0]["box"], [80, 95, 690, 450], atol=30)


def test_a_portrait_has_a_person_and_a_cat_is_a_cat_where_they_are(client: httpx.Client) -> None:
    wanted = {"astronaut": ("person", [0, 0, 430, 512]), "chelsea": ("cat", [0, 0, 433, 300])}
    for name, (label, box) in wanted.items():
        body = encode_image(photo(name), "JPEG")
        found = client.post("/detect", content=body, headers={"content-type": "image/jpeg"}).json()["detections"]
        assert found[0]["name"] == label
        np.testing.assert_allclose(found[0]["box"], box, atol=40)


def test_the_photo_of_the_documentation_is_a_photo_with_nothing_drawn_on_it() -> None:
    with Image.open(MODELS.parent / "docs" / "images" / "motorcycle.jpg") as image:
        shown = np.asarray(image, np.float64)
    assert np.abs(shown - photo("stereo_motorcycle")).max() < 80  # what JPEG loses; a line would be more


def test_a_picture_of_nothing_has_no_objects(client: httpx.Client) -> None:
    grey = encode_image(np.full_like(photo("coffee"), 120))
    answer = client.post("/detect", content=grey, headers={"content-type": "image/png"}).json()
    assert answer["detections"] == []


def test_the_drawn_picture_has_the_size_of_the_photo(client: httpx.Client) -> None:
    body = encode_image(photo("astronaut"), "JPEG")
    headers = {"content-type": "image/jpeg", "accept": "image/png"}
    response = client.post("/detect?score_threshold=0.05", content=body, headers=headers)
    assert response.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(response.content)) as picture:
        assert picture.size == (512, 512)
