"""huggingface_hub's InferenceClient, unmodified."""

from pathlib import Path

import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from tests.clients.conftest import Own


@pytest.mark.parametrize("path", ["", "/models/emo-1m"])
def test_a_photo_is_classified_as_by_the_own_route(url: str, photo: Path, own: Own, path: str) -> None:
    expected = own("/classify?top_k=3")["classifications"]
    client = InferenceClient(model=url + path)
    for found in (client.image_classification(photo, top_k=3), client.image_classification(photo.read_bytes())[:3]):
        assert [entry.label for entry in found] == [entry["name"] for entry in expected]
        assert [entry.score for entry in found] == pytest.approx([entry["score"] for entry in expected], abs=1e-6)


def test_objects_are_those_of_the_own_route(url: str, photo: Path, own: Own) -> None:
    client = InferenceClient(model=f"{url}/models/ssdlite-emo-1m")
    expected = own("/detect")["detections"]
    found = client.object_detection(photo)
    assert [entry.label for entry in found] == [entry["name"] for entry in expected]
    box = found[0].box
    assert [box.xmin, box.ymin, box.xmax, box.ymax] == [round(value) for value in expected[0]["box"]]
    assert client.object_detection(photo, threshold=1.0) == []


def test_errors_say_what_is_wrong(url: str, photo: Path) -> None:
    with pytest.raises(HfHubHTTPError, match="from 1 to 1000"):
        InferenceClient(model=url).image_classification(photo, top_k=0)
    with pytest.raises(HfHubHTTPError, match="404"):
        InferenceClient(model=f"{url}/models/nothing").image_classification(photo)
