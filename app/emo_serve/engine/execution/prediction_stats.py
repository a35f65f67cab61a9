"""What the images show that come: watched, because a model goes wrong without an error when they change."""

from emo_serve.vision.results import (
    Classification,
    ClassifyParameters,
    Detections,
    DetectParameters,
    Parameters,
    Result,
)


def prediction_stats(result: Result, parameters: Parameters) -> tuple[list[int], list[float]] | None:
    """Labels and scores of the best class of an image, or of all objects in it.

    None where a client's own thresholds or classes decided what was found: then it says more about the client.
    """
    match result, parameters:
        case Classification(), ClassifyParameters(score_threshold=0.0):
            return result.labels[:1].tolist(), result.scores[:1].tolist()
        case (
            Detections(),
            DetectParameters(score_threshold=None, iou_threshold=None, max_detections=None, classes=None),
        ):
            return result.labels.tolist(), result.scores.tolist()
    return None
