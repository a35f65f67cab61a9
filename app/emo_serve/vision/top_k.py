"""The best of many scores, in an order that does not depend on luck."""

import numpy as np
from numpy.typing import NDArray


def best_indices(scores: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Indices of the ``count`` highest of (N,) scores, or of all when there are fewer, best first.

    Equal scores keep their order. NaN is never among them.
    """
    candidates = np.flatnonzero(~np.isnan(scores))
    if len(candidates) > count:
        worst = np.partition(scores[candidates], -count)[-count]
        candidates = candidates[scores[candidates] >= worst]
    order = np.argsort(-scores[candidates], kind="stable")[:count]
    return candidates[order].astype(np.int64)
