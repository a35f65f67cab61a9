from typing import Any

import numpy as np
import pytest

from emo_serve.engine.execution.prediction_stats import findings
from emo_serve.vision.results import Classification, ClassifyParameters, Detections, DetectParameters

CLASSES = Classification(np.array([7, 3]), np.array([0.5, 0.25], np.float32))
OBJECTS = Detections(np.zeros((2, 4), np.float32), np.array([1, 1]), np.array([0.75, 0.5], np.float32))


def test_of_a_classifier_the_best_class_counts() -> None:
    assert findings(CLASSES, ClassifyParameters(top_k=2)) == ([7], [0.5])


def test_of_a_detector_all_objects_count() -> None:
    assert findings(OBJECTS, DetectParameters(full_decode=True)) == ([1, 1], [0.75, 0.5])


@pytest.mark.parametrize(
    "own", [{"score_threshold": 0.3}, {"iou_threshold": 0.5}, {"max_detections": 1}, {"classes": ("car",)}]
)
def test_what_a_client_chose_to_see_does_not_count(own: dict[str, Any]) -> None:
    assert findings(OBJECTS, DetectParameters(**own)) is None
    assert findings(CLASSES, ClassifyParameters(score_threshold=0.3)) is None
