from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from emo_serve.engine.execution.prediction_stats import prediction_stats
from emo_serve.settings import Batching
from emo_serve.vision.results import Classification, Detections, ImageSize, Segmentation
from tests.serving import running, settings_for
from tests.support import encode_image, quadrants

FOUR = encode_image(quadrants("red", "green", "blue", "black", side=64))
STATISTICS = ("emo_predicted_", "emo_detections_per_image")


def counted(client: httpx.Client) -> dict[str, float]:
    """The series of prediction statistics, and their values."""
    lines = [line for line in client.get("/metrics").text.splitlines() if line.startswith(STATISTICS)]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_of_a_classifier_the_best_class_counts() -> None:
    assert prediction_stats(Classification(np.array([7, 3]), np.array([0.5, 0.25], np.float32))) == ([7], [0.5])


def test_of_a_detector_all_objects_count() -> None:
    objects = Detections(np.zeros((2, 4), np.float32), np.array([1, 1]), np.array([0.75, 0.5], np.float32))
    assert prediction_stats(objects) == ([1, 1], [0.75, 0.5])


def test_of_a_segmenter_nothing_counts() -> None:
    assert prediction_stats(Segmentation(ImageSize(2, 2), np.zeros((2, 2), np.uint8), ())) is None


@pytest.fixture(scope="module", params=[1, 4], ids=["inline", "batched"])
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    settings = settings_for(tmp_path_factory.mktemp("models"), batching=Batching(max_batch_size=request.param))
    with running(settings) as server, httpx.Client(base_url=server.url, timeout=20) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "own"),
    [
        ("/detect", {"score_threshold": 0.05, "iou_threshold": 1, "max_detections": 1000}),  # as the Playground asks
        ("/detect", {"score_threshold": 0.999999}),
        ("/detect", {"max_detections": 1}),
        ("/detect", {"classes": "red"}),
        ("/detect", {"class_agnostic": "true", "iou_threshold": 0}),
        ("/classify", {"score_threshold": 1}),
        ("/classify", {"top_k": 1000}),
        ("/classify", {"top_k": 1}),
    ],
)
def test_whatever_a_client_asks_to_see_the_same_counts(client: httpx.Client, path: str, own: dict[str, Any]) -> None:
    headers = {"content-type": "image/png"}
    before = counted(client)
    by_default = client.post(path, content=FOUR, headers=headers)
    between = counted(client)
    answer = client.post(path, params=own, content=FOUR, headers=headers)
    after = counted(client)
    assert (by_default.status_code, answer.status_code) == (200, 200)
    grown = {name: value - before.get(name, 0) for name, value in between.items()}
    assert any(grown.values())
    assert {name: value - between.get(name, 0) for name, value in after.items()} == pytest.approx(grown)
