"""What the images show that come: watched, because a model goes wrong without an error when they change."""

from emo_serve.vision.results import (
    Classification,
    ClassifyParameters,
    Detections,
    DetectParameters,
    Parameters,
    Result,
)


def prediction_stats(default_result: Result) -> tuple[list[int], list[float]] | None:
    """Labels and scores of the best class of an image, or of all objects in it; None for a task without statistics."""
    match default_result:
        case Classification():
            return default_result.labels[:1].tolist(), default_result.scores[:1].tolist()
        case Detections():
            return default_result.labels.tolist(), default_result.scores.tolist()
    return None


def default_parameters(parameters: Parameters) -> Parameters:
    """Those whose result is counted: without the choices of a client, which say more about it than about the image.

    Equal to ``parameters`` where these choose nothing; ``top_k`` does not change the best class.
    """
    match parameters:
        case ClassifyParameters():
            return ClassifyParameters(parameters.top_k, full_decode=parameters.full_decode)
        case DetectParameters():
            return DetectParameters(full_decode=parameters.full_decode)
    return parameters
