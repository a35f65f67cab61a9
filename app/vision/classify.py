"""Class scores -> the best classes."""

import numpy as np
from numpy.typing import NDArray

from app.vision.ranking import best_indices
from app.vision.results import Classification, ClassifyParameters


def top_classes(scores: NDArray[np.float32], parameters: ClassifyParameters) -> Classification:
    """The ``top_k`` best of (C,) scores that reach ``score_threshold``, best first, ties by label.

    A ``top_k`` above C gives C classes; none may reach the threshold.
    """
    labels = best_indices(scores, parameters.top_k)
    labels = labels[scores[labels] >= parameters.score_threshold]
    return Classification(labels, scores[labels].astype(np.float32))
