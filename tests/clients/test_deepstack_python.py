"""deepstack-python, the client of Home Assistant's integration, unmodified."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from deepstack.core import DeepstackException, DeepstackObject, DeepstackScene

from tests.clients.conftest import Own


@pytest.mark.parametrize("custom_model", ["", "ssdlite-emo-1m"])
def test_objects_are_those_of_the_own_route(url: str, photo: Path, own: Own, custom_model: str) -> None:
    address = urlsplit(url)
    client = DeepstackObject(address.hostname, address.port, min_confidence=0.5, custom_model=custom_model)
    expected = own("/detect?score_threshold=0.5")["detections"]
    found = client.detect(photo.read_bytes())
    assert [entry["label"] for entry in found] == [entry["name"] for entry in expected]
    assert found[0]["x_min"] == round(expected[0]["box"][0])


def test_a_request_as_frigate_sends_it_gets_what_it_has_room_for(url: str, photo: Path, own: Own) -> None:
    """A form without a media type of its part and with an empty key; room for 20 objects, no look at the status."""
    address = f"{url}/v1/vision/detection"
    answer = requests.post(address, data={"api_key": ""}, files={"image": photo.read_bytes()}, timeout=20).json()
    confidences = [entry["confidence"] for entry in answer["predictions"]]
    assert 0 < len(confidences) <= 20
    assert confidences == sorted(confidences, reverse=True)
    known = {entry["name"] for entry in own("/detect")["detections"]}
    assert {entry["label"] for entry in answer["predictions"]} <= known
    broken = requests.post(address, data={"api_key": ""}, files={"image": b"no picture"}, timeout=20).json()
    assert broken.get("predictions") is None


def test_a_scene_is_the_best_class(url: str, photo: Path, own: Own) -> None:
    address = urlsplit(url)
    scene = DeepstackScene(address.hostname, address.port).recognize(photo.read_bytes())
    assert scene["label"] == own("/classify")["classifications"][0]["name"]


def test_a_model_that_is_not_there_is_an_error(url: str, photo: Path) -> None:
    address = urlsplit(url)
    with pytest.raises(DeepstackException, match="404"):
        DeepstackObject(address.hostname, address.port, custom_model="nothing").detect(photo.read_bytes())
