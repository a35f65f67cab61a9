"""What the images show that come: watched, because a model goes wrong without an error when they change."""

from emo_serve.vision.results import Classification, Detections, Result


def prediction_stats(default_result: Result) -> tuple[list[int], list[float]] | None:
    """Labels and scores of the best class of an image, or of all objects in it; None for a task without statistics."""
    match default_result:
        case Classification():
            return default_result.labels[:1].tolist(), default_result.scores[:1].tolist()
        case Detections():
            return default_result.labels.tolist(), default_result.scores.tolist()
    return None
