"""tritonclient, unmodified."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.clients.conftest import Own

CLASSIFIER, DETECTOR = "emo-1m", "ssdlite-emo-1m"


@pytest.fixture
def client(url: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(url.removeprefix("http://")) as client:
        yield client


def pictures(*data: bytes, binary: bool = True) -> triton.InferInput:
    tensor = triton.InferInput("images", [len(data)], "BYTES")
    tensor.set_data_from_numpy(np.array(data, np.object_), binary_data=binary)
    return tensor


def test_server_and_models_are_there(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(CLASSIFIER)
    assert client.is_model_ready(CLASSIFIER, "2")
    assert not client.is_model_ready("nothing")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    assert client.get_model_metadata(DETECTOR)["inputs"][0]["shape"] == [-1, 384, 384, 3]
    assert client.get_model_config(DETECTOR)["input"][0]["data_type"] == "TYPE_UINT8"
    assert {entry["name"] for entry in client.get_model_repository_index()} == {CLASSIFIER, DETECTOR}
    assert {entry["name"] for entry in client.get_inference_statistics()["model_stats"]} == {CLASSIFIER, DETECTOR}


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_a_photo_is_classified_as_by_the_own_route(
    client: triton.InferenceServerClient, photo: Path, own: Own, compression: str | None
) -> None:
    wanted = [triton.InferRequestedOutput("scores", class_count=5)]
    image = pictures(photo.read_bytes())
    result = client.infer(
        CLASSIFIER,
        [image],
        outputs=wanted,
        request_compression_algorithm=compression,
        response_compression_algorithm=compression,
    )
    best = [text.decode().split(":", 2) for text in result.as_numpy("scores")[0]]
    expected = own("/classify?top_k=5")["classifications"]
    assert [name for _, _, name in best] == [entry["name"] for entry in expected]
    assert [float(score) for score, _, _ in best] == pytest.approx([entry["score"] for entry in expected], abs=1e-6)


@pytest.mark.parametrize("binary", [True, False])
def test_objects_are_those_of_the_own_route(
    client: triton.InferenceServerClient, photo: Path, own: Own, binary: bool
) -> None:
    names = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in names]
    found = client.infer(DETECTOR, [pictures(photo.read_bytes(), photo.read_bytes())], outputs=outputs)
    expected = own("/detect")["detections"]
    for row in (0, 1):
        count = found.as_numpy("num_detections")[row]
        assert count == len(expected) > 0
        for place, entry in enumerate(expected):
            assert found.as_numpy("detection_classes")[row, place] == entry["class_id"]
            assert found.as_numpy("detection_boxes")[row, place] == pytest.approx(entry["box"], abs=0.01)


def test_pixels_go_to_the_graph_and_all_outputs_come_back(client: triton.InferenceServerClient) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 384, 384, 3), np.uint8)
    tensor = triton.InferInput("images", pixels.shape, "UINT8")
    tensor.set_data_from_numpy(pixels)
    together = client.infer(DETECTOR, [tensor], request_id="7")
    assert together.get_response()["id"] == "7"
    assert together.as_numpy("boxes").shape == (3, 13836, 4)
    single = triton.InferInput("images", [1, 384, 384, 3], "UINT8")
    single.set_data_from_numpy(pixels[1:2])
    alone = client.infer(DETECTOR, [single]).as_numpy("scores")
    np.testing.assert_allclose(together.as_numpy("scores")[1:2], alone, atol=1e-5)


def test_requests_go_several_at_a_time(url: str, photo: Path) -> None:
    with triton.InferenceServerClient(url.removeprefix("http://"), concurrency=4) as client:
        image = pictures(photo.read_bytes())
        pending = [client.async_infer(CLASSIFIER, [image]) for _ in range(8)]
        best = {int(request.get_result().as_numpy("scores").argmax()) for request in pending}
    assert len(best) == 1


def test_errors_say_what_is_wrong(client: triton.InferenceServerClient, photo: Path) -> None:
    tensor = triton.InferInput("images", [1, 3, 128, 128], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, 3, 128, 128), np.float32))
    with pytest.raises(InferenceServerException, match=r"UINT8 \[N, 128, 128, 3\]"):
        client.infer(CLASSIFIER, [tensor])
    with pytest.raises(InferenceServerException, match="no model 'nothing'"):
        client.infer("nothing", [pictures(photo.read_bytes())])
    with pytest.raises(InferenceServerException, match="allowed are JPEG"):
        client.infer(CLASSIFIER, [pictures(gzip.compress(b"no picture"))])
    with pytest.raises(InferenceServerException, match="administration"):
        client.unload_model(CLASSIFIER)
