"""roboflow's inference-sdk, unmodified."""

import asyncio
from pathlib import Path

import pytest
from inference_sdk import InferenceConfiguration, InferenceHTTPClient
from inference_sdk.http.errors import HTTPCallErrorError

from tests.clients.conftest import Own

CLASSIFIER, DETECTOR = "emo-1m/3", "ssdlite-emo-1m/2"
AS_IT_IS = {"client_downsizing_disabled": True}  # else the photo is made smaller, and is another one


@pytest.fixture(params=["v0", "v1"])
def client(url: str, request: pytest.FixtureRequest) -> InferenceHTTPClient:
    """A client of either of its interfaces; the first wants a key, which a server without keys passes over."""
    client = InferenceHTTPClient(api_url=url, api_key="any").configure(InferenceConfiguration(**AS_IT_IS))
    return client.select_api_v0() if request.param == "v0" else client.select_api_v1()


def test_objects_are_those_of_the_own_route(client: InferenceHTTPClient, photo: Path, own: Own) -> None:
    found, expected = client.infer(str(photo), model_id=DETECTOR), own("/detect")
    assert found["image"] == expected["image"]
    assert [entry["class"] for entry in found["predictions"]] == [entry["name"] for entry in expected["detections"]]
    for entry, same in zip(found["predictions"], expected["detections"], strict=True):
        left, top, right, bottom = same["box"]
        assert entry["confidence"] == pytest.approx(same["score"], abs=1e-6)
        assert (entry["x"], entry["y"]) == pytest.approx(((left + right) / 2, (top + bottom) / 2), abs=0.01)
        assert (entry["width"], entry["height"]) == pytest.approx((right - left, bottom - top), abs=0.01)


def test_a_photo_is_classified_as_by_the_own_route(client: InferenceHTTPClient, photo: Path, own: Own) -> None:
    found, expected = client.infer(str(photo), model_id=CLASSIFIER), own("/classify?top_k=3")["classifications"]
    assert [entry["class"] for entry in found["predictions"][:3]] == [entry["name"] for entry in expected]
    assert found["top"] == expected[0]["name"]
    assert found["confidence"] == pytest.approx(expected[0]["score"], abs=1e-6)


def test_parameters_of_its_configuration_are_followed(client: InferenceHTTPClient, photo: Path, own: Own) -> None:
    expected = own("/detect?score_threshold=0.8&iou_threshold=0.4&max_detections=1&classes=motorcycle")["detections"]
    client.configure(
        InferenceConfiguration(
            confidence_threshold=0.8,
            iou_threshold=0.4,
            max_detections=1,
            class_filter=["motorcycle"],  # which the older interface does not send
            class_agnostic_nms=True,
            **AS_IT_IS,
        )
    )
    found = client.infer(str(photo), model_id=DETECTOR)["predictions"]
    assert [entry["class"] for entry in found] == [entry["name"] for entry in expected] == ["motorcycle"]


def test_several_photos_at_a_time_are_answered_alike(client: InferenceHTTPClient, photo: Path) -> None:
    several = client.infer([str(photo), str(photo)], model_id=DETECTOR)
    later = asyncio.run(client.infer_async([str(photo), str(photo)], model_id=DETECTOR))
    boxes = [[(entry["x"], entry["y"]) for entry in answer["predictions"]] for answer in (*several, *later)]
    assert boxes == [boxes[0]] * 4


def test_models_are_listed_and_loaded_in_name(url: str) -> None:
    client = InferenceHTTPClient(api_url=url).select_api_v1()
    assert client.get_model_description(DETECTOR).task_type == "object-detection"
    listed = {model.model_id for model in client.load_model(CLASSIFIER).models}
    assert {CLASSIFIER, DETECTOR} <= listed


def test_errors_say_what_is_wrong(client: InferenceHTTPClient, photo: Path) -> None:
    with pytest.raises(HTTPCallErrorError, match="no model 'nothing'"):
        client.infer(str(photo), model_id="nothing/1")
    client.configure(InferenceConfiguration(confidence_threshold=-1, **AS_IT_IS))
    with pytest.raises(HTTPCallErrorError, match="from 0 to 1"):
        client.infer(str(photo), model_id=DETECTOR)
