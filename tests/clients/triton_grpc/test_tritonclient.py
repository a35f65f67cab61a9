"""tritonclient over gRPC, unmodified."""

import queue
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from tests.clients.conftest import Own

CLASSIFIER, DETECTOR = "emo-1m", "ssdlite-emo-1m"


@pytest.fixture
def client(grpc_address: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(grpc_address) as client:
        yield client


def pictures(*data: bytes) -> triton.InferInput:
    tensor = triton.InferInput("images", [len(data)], "BYTES")
    tensor.set_data_from_numpy(np.array(data, np.object_))
    return tensor


def test_server_and_models_are_there(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(CLASSIFIER)
    assert not client.is_model_ready("nothing")
    assert "statistics" in client.get_server_metadata().extensions
    assert list(client.get_model_metadata(DETECTOR).inputs[0].shape) == [-1, 384, 384, 3]
    assert client.get_model_config(DETECTOR, as_json=True)["config"]["input"][0]["data_type"] == "TYPE_UINT8"
    assert {entry.name for entry in client.get_model_repository_index().models} == {CLASSIFIER, DETECTOR}
    assert {entry.name for entry in client.get_inference_statistics().model_stats} == {CLASSIFIER, DETECTOR}


def test_a_photo_is_classified_as_by_the_own_route(client: triton.InferenceServerClient, photo: Path, own: Own) -> None:
    wanted = [triton.InferRequestedOutput("scores", class_count=5)]
    result = client.infer(CLASSIFIER, [pictures(photo.read_bytes())], outputs=wanted, request_id="7", client_timeout=30)
    best = [text.decode().split(":", 2) for text in result.as_numpy("scores")[0]]
    expected = own("/classify?top_k=5")["classifications"]
    assert result.get_response().id == "7"
    assert [name for _, _, name in best] == [entry["name"] for entry in expected]
    assert [float(score) for score, _, _ in best] == pytest.approx([entry["score"] for entry in expected], abs=1e-6)


def test_objects_are_those_of_the_own_route(client: triton.InferenceServerClient, photo: Path, own: Own) -> None:
    parameters = {"score_threshold": 0.6, "max_detections": 3}
    found = client.infer(DETECTOR, [pictures(photo.read_bytes(), photo.read_bytes())], parameters=parameters)
    expected = own("/detect?score_threshold=0.6&max_detections=3")["detections"]
    for row in (0, 1):
        assert found.as_numpy("num_detections")[row] == len(expected) > 0
        for place, entry in enumerate(expected):
            assert found.as_numpy("detection_classes")[row, place] == entry["class_id"]
            assert found.as_numpy("detection_boxes")[row, place] == pytest.approx(entry["box"], abs=0.01)


def test_pixels_go_to_the_graph_and_all_outputs_come_back(client: triton.InferenceServerClient) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 384, 384, 3), np.uint8)
    tensor = triton.InferInput("images", pixels.shape, "UINT8")
    tensor.set_data_from_numpy(pixels)
    assert client.infer(DETECTOR, [tensor]).as_numpy("boxes").shape == (2, 13836, 4)


def test_calls_that_do_not_wait_and_streams_are_answered(client: triton.InferenceServerClient, photo: Path) -> None:
    image, answers = pictures(photo.read_bytes()), queue.SimpleQueue()
    for _ in range(4):
        client.async_infer(CLASSIFIER, [image], lambda result, error: answers.put((result, error)))
    client.start_stream(lambda result, error: answers.put((result, error)))
    for _ in range(4):
        client.async_stream_infer(CLASSIFIER, [image])
    client.async_stream_infer("nothing", [image])
    found = [answers.get(timeout=60) for _ in range(9)]
    client.stop_stream()
    assert len({int(result.as_numpy("scores").argmax()) for result, error in found if error is None}) == 1
    (error,) = [error for _, error in found if error is not None]
    assert "no model 'nothing'" in str(error)


def test_errors_say_what_is_wrong(client: triton.InferenceServerClient, photo: Path) -> None:
    tensor = triton.InferInput("images", [1, 3, 128, 128], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, 3, 128, 128), np.float32))
    with pytest.raises(InferenceServerException, match=r"UINT8 \[N, 128, 128, 3\]") as caught:
        client.infer(CLASSIFIER, [tensor])
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    with pytest.raises(InferenceServerException, match="no model 'nothing'"):
        client.infer("nothing", [pictures(photo.read_bytes())])
    with pytest.raises(InferenceServerException, match="administration"):
        client.load_model(CLASSIFIER)
    with pytest.raises(InferenceServerException, match=r"DEADLINE_EXCEEDED|Deadline"):
        client.infer(CLASSIFIER, [pictures(*[photo.read_bytes()] * 32)], client_timeout=0.001)
