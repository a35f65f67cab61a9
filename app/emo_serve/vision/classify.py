"""Class scores -> the best classes, and the best groups of classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from emo_serve.vision.results import Classification, ClassifyParameters, GroupScore
from emo_serve.vision.top_k import best_indices


@dataclass(frozen=True, slots=True)
class Groups:
    """The broad groups of a model's classes: their names, and the position among them of each class's."""

    names: tuple[str, ...]  # (G,), in the order of their first classes
    of_class: NDArray[np.intp]  # (C,)

    @classmethod
    def of(cls, group_of_class: Sequence[str]) -> Self:
        """The groups that are named for each class (C,)."""
        positions = {name: position for position, name in enumerate(dict.fromkeys(group_of_class))}
        return cls(tuple(positions), np.array([positions[name] for name in group_of_class], np.intp))

    def sums(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """The sum (G,) of each group's (C,) scores; 1 at most, though independent scores may sum to more."""
        return np.minimum(np.bincount(self.of_class, scores, len(self.names)), np.float32(1)).astype(np.float32)


def top_classes(
    scores: NDArray[np.float32], parameters: ClassifyParameters, groups: Groups | None = None
) -> Classification:
    """The ``top_k`` best of (C,) scores that reach ``score_threshold``, best first, ties by label.

    A ``top_k`` above C gives C classes; none may reach the threshold. Of ``groups`` as many are given, by the sums over
    all their classes: one may reach the threshold though no class of it does.
    """
    labels = best_indices(scores, parameters.top_k)
    labels = labels[scores[labels] >= parameters.score_threshold]
    best_groups = None if groups is None else _top_groups(groups, scores, parameters)
    return Classification(labels, scores[labels].astype(np.float32), best_groups)


def _top_groups(groups: Groups, scores: NDArray[np.float32], parameters: ClassifyParameters) -> tuple[GroupScore, ...]:
    """Best first, ties in the order of their first classes; few enough to sort them all. NaN reaches no threshold."""
    sums = groups.sums(scores)
    best = np.argsort(-sums, kind="stable")[: parameters.top_k]
    named = zip(best.tolist(), sums[best].tolist(), strict=True)
    return tuple(
        GroupScore(groups.names[group], score) for group, score in named if score >= parameters.score_threshold
    )
