"""Class scores -> the best classes, and the best groups of classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from emo_serve.vision.results import Classification, ClassifyParameters, GroupScore


@dataclass(frozen=True, slots=True)
class Groups:
    """The broad groups of a model's classes: their names, and the index of each class's group."""

    names: tuple[str, ...]  # (G,), in the order of their first classes
    of_class: NDArray[np.intp]  # (C,)

    @classmethod
    def of(cls, group_of_class: Sequence[str]) -> Self:
        """The groups for the group names of the classes (C,)."""
        positions = {name: position for position, name in enumerate(dict.fromkeys(group_of_class))}
        return cls(tuple(positions), np.array([positions[name] for name in group_of_class], np.intp))

    def sums(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """The sum (G,) of each group's (C,) scores, at most 1 even if independent scores sum to more."""
        return np.minimum(np.bincount(self.of_class, scores, len(self.names)), np.float32(1)).astype(np.float32)


def top_classes(
    scores: NDArray[np.float32], parameters: ClassifyParameters, groups: Groups | None = None
) -> Classification:
    """The ``top_k`` best of (C,) scores that reach ``score_threshold``, best first, ties by class id.

    A ``top_k`` above C gives C classes; there may be none. As many ``groups`` are returned, by the sums over all their
    classes: a group may reach the threshold although none of its classes does.
    """
    class_ids = best_indices(scores, parameters.top_k)
    class_ids = class_ids[scores[class_ids] >= parameters.score_threshold]
    best_groups = None if groups is None else _top_groups(groups, scores, parameters)
    return Classification(class_ids, scores[class_ids].astype(np.float32), best_groups)


def _top_groups(groups: Groups, scores: NDArray[np.float32], parameters: ClassifyParameters) -> tuple[GroupScore, ...]:
    """Best first, ties in the order of their first classes; few enough to sort them all. NaN reaches no threshold."""
    sums = groups.sums(scores)
    best = np.argsort(-sums, kind="stable")[: parameters.top_k]
    named = zip(best.tolist(), sums[best].tolist(), strict=True)
    return tuple(
        GroupScore(groups.names[group], score) for group, score in named if score >= parameters.score_threshold
    )


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
