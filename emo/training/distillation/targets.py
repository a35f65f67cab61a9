"""A teacher's targets for training pictures, stored on disk: the best classes of each view with their probabilities."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from emo.data.folders import LabelledFile
from emo.training.distillation.cache import cached_rows
from emo.training.distillation.squares import each_picture
from emo.training.distillation.teacher import Teacher
from emo.training.distillation.views import SMALLEST_AREA, cut_view, view_boxes
from emo_serve.prefetch import prefetch

KEPT = 24
"""Number of stored classes of a view; the rest of the probability is spread evenly over all others."""
_BATCH = 32


def teacher_targets(teacher: Teacher, files: Sequence[LabelledFile], view: int, path: Path) -> NDArray[np.void]:
    """The teacher's targets for view number ``view`` of each file, from ``path`` or computed into it.

    (N,) with the fields ``label`` (K,) and ``score`` (K,): classes of the teacher and their probabilities, best first.
    """
    kept = min(KEPT, len(teacher.names))
    boxes, dtype = view_boxes(len(files), view), np.dtype([("label", "<u2", (kept,)), ("score", "<f2", (kept,))])
    rule = teacher.rule
    least_side = round(max(rule.width, rule.height) / (SMALLEST_AREA**0.5 if view else 1))

    def cut(number: int, picture: Image.Image) -> NDArray[np.uint8]:
        return cut_view(picture, boxes[number], rule.width, rule.height)

    def compute(start: int) -> Iterator[NDArray[np.void]]:
        inputs = each_picture(files, start, least_side, cut)
        batches = iter(lambda: list(islice(inputs, _BATCH)), [])
        for scores in prefetch(lambda batch: teacher.predict(np.stack(batch)), batches, 1):
            for row in scores:
                answer = np.zeros((), dtype)
                answer["label"] = np.argsort(-row)[:kept]
                answer["score"] = row[answer["label"]]
                yield answer

    return cached_rows(path, len(files), (dtype, ()), compute)


def dense_targets(answers: NDArray[np.void], classes: int, temperature: float) -> Tensor:
    """Stored targets (N,) -> probabilities (N, classes), softened by ``temperature`` (1 leaves them unchanged)."""
    labels = torch.from_numpy(answers["label"].astype(np.int64))
    scores = torch.from_numpy(answers["score"].astype(np.float32))
    rest = (1 - scores.sum(1, keepdim=True)).clamp(min=0) / max(1, classes - scores.shape[1])
    dense = rest.expand(-1, classes).scatter(1, labels, scores)
    if temperature != 1:
        dense = dense.clamp(min=1e-8) ** (1 / temperature)
    return dense / dense.sum(1, keepdim=True)
