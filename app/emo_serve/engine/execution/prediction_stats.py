"""Predicted classes and scores, counted to detect drift."""

from emo_serve.vision.results import Classification, Detections, Result


def prediction_stats(default_result: Result) -> tuple[list[int], list[float]] | None:
    """Class ids and scores of the best class, or of all objects; None for a task without statistics."""
    match default_result:
        case Classification():
            return default_result.class_ids[:1].tolist(), default_result.scores[:1].tolist()
        case Detections():
            return default_result.class_ids.tolist(), default_result.scores.tolist()
    return None
