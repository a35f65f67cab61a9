"""roboflow's inference-sdk, unmodified."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from inference_sdk import InferenceConfiguration, InferenceHTTPClient
from inference_sdk.http.errors import HTTPCallErrorError

from tests.clients.conftest import Own

CLASSIFIER, DETECTOR = "emo-1m", "ssdlite-emo-1m"
AS_IT_IS = InferenceConfiguration(client_downsizing_disabled=True)


@pytest.fixture(params=["v0", "v1"])
def client(url: str, request: pytest.FixtureRequest) -> Iterator[InferenceHTTPClient]:
    """A client of either interface, which sends photos without making them smaller."""
    client = InferenceHTTPClient(api_url=url, api_key=None).configure(AS_IT_IS)
    yield client.select_api_v0() if request.param == "v0" else client.select_api_v1()


def test_objects_are_those_of_the_own_route(client: InferenceHTTPClient, photo: Path, own: Own) -> None:
    found = client.infer(str(photo), model_id=f"{DETECTOR}/1")
    expected = own("/detect")["detections"]
    assert [entry["class"] for entry in found["predictions"]] == [entry["name"] for entry in expected]
    print(found, expected)


def test_a_photo_is_classified_as_by_the_own_route(client: InferenceHTTPClient, photo: Path, own: Own) -> None:
    found = client.infer(str(photo), model_id=f"{CLASSIFIER}/1")
    expected = own("/classify?top_k=3")["classifications"]
    print(found["predictions"][:3], expected)
    assert [entry["class"] for entry in found["predictions"][:3]] == [entry["name"] for entry in expected]
