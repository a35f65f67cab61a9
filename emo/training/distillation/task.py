"""The distillation task: a classifier learns from another one's answers.

Pictures may have labels or none. The loss is the cross entropy between the teacher's probabilities, mixed with the true
label if there is one, and the student's (Hinton et al., arXiv 1503.02531).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from emo.data.folders import LabelledFile, LabelledFiles, find_classification
from emo.data.splits import is_held_out
from emo.evaluation.measure import predicted_figures
from emo.evaluation.topk import Labelled
from emo.export.predict import Predict, torch_predict, watched
from emo.models.preprocessing import classifier_preprocessing
from emo.training.augment import cropped_views, random_boxes
from emo.training.distillation.cache import digest_of
from emo.training.distillation.options import Distillation
from emo.training.distillation.squares import stored_squares
from emo.training.distillation.targets import dense_targets, teacher_targets
from emo.training.distillation.teacher import Teacher
from emo.training.distillation.views import view_boxes
from emo_serve.manifest import Preprocessing
from emo_serve.picture_files import pictures_below

HELD_OUT = 20
"""One picture in this many without a label is for validation."""


@dataclass(slots=True)
class DistillationTask:
    """Training pictures on disk, and their teacher's targets."""

    names: tuple[str, ...]
    validation: LabelledFiles
    agreement: LabelledFiles
    squares: NDArray[np.uint8]  # (N, S, S, 3)
    labels: NDArray[np.int64]  # (N,), -1 if there is none
    boxes: tuple[NDArray[np.float32], ...]  # (N, 4) of each view
    answers: tuple[NDArray[np.void], ...]  # (N,) of each view
    options: Distillation

    @classmethod
    def load(
        cls,
        teacher: Teacher,
        root: Path | None,
        unlabelled: Sequence[Path],
        stored_side: int,
        cache: Path,
        options: Distillation,
    ) -> "DistillationTask":
        """Read the labelled pictures of ``root``, those in the folders ``unlabelled``, and the teacher's targets.

        Squares of the pictures and answers of the teacher are stored in ``cache``. The classes are the teacher's, then
        those of ``root`` that it does not know. Raise ValueError for files that cannot be read.
        """
        names, labelled, validation = _labelled(teacher.names, root)
        plain, held = _unlabelled(unlabelled)
        files = (*labelled, *plain)
        digest = digest_of(f"{file.path}{file.rectangle}" for file in files)
        squares = stored_squares(files, stored_side, cache / f"squares-{stored_side}-{digest}.npy")
        answers = tuple(
            teacher_targets(teacher, files, view, cache / f"answers-{teacher.digest}-{view}-{digest}.npy")
            for view in range(options.views)
        )
        held_digest = digest_of(str(file.path) for file in held)
        said = teacher_targets(teacher, held, 0, cache / f"answers-{teacher.digest}-0-{held_digest}.npy")
        agreement = tuple(
            LabelledFile(file.path, None, int(answer["label"][0])) for file, answer in zip(held, said, strict=True)
        )
        return cls(
            names,
            LabelledFiles(names, validation),
            LabelledFiles(names, agreement),
            squares,
            np.array([file.label for file in files], np.int64),
            tuple(view_boxes(len(files), view) for view in range(options.views)),
            answers,
            options,
        )

    @property
    def count(self) -> int:
        """Number of training pictures."""
        return len(self.labels)

    @property
    def validation_count(self) -> int:
        """Number of validation pictures."""
        return len(self.validation.files) + len(self.agreement.files)

    def frequencies(self) -> Tensor:
        """For each training picture the number of those of its class: the label's, else the teacher's best."""
        classes = np.where(self.labels >= 0, self.labels, self.answers[0]["label"][:, 0])
        return torch.from_numpy(np.bincount(classes)[classes])

    def batches(
        self, rows: Sequence[Tensor], side: int, generator: torch.Generator, *, mosaics: bool = True
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """For each batch of row numbers: normalised (N, 3, side, side) and probabilities (N, C)."""
        del mosaics  # a classifier never sees any
        for batch in rows:
            order = batch.sort().values.numpy()
            boxes, answers = self._views(order, generator)
            pictures = torch.from_numpy(self.squares[order])
            yield cropped_views(pictures, boxes, side, generator), self._target(order, answers)

    def _views(self, rows: NDArray[np.int64], generator: torch.Generator) -> tuple[Tensor, NDArray[np.void]]:
        """A part of each picture (N, 4), and the teacher's target for that part, or else for the whole."""
        count = len(rows)
        if self.options.views == 1:
            return random_boxes(count, 0.5, generator), self.answers[0][rows]
        chosen = torch.randint(0, self.options.views, (count,), generator=generator).numpy()
        answers = np.empty(count, self.answers[0].dtype)
        boxes = np.empty((count, 4), np.float32)
        for view, (parts, said) in enumerate(zip(self.boxes, self.answers, strict=True)):
            mask = chosen == view
            answers[mask], boxes[mask] = said[rows[mask]], parts[rows[mask]]
        return torch.from_numpy(boxes), answers

    def _target(self, rows: NDArray[np.int64], answers: NDArray[np.void]) -> Tensor:
        target = dense_targets(answers, len(self.names), self.options.temperature)
        labels = torch.from_numpy(self.labels[rows])
        known = (labels >= 0).nonzero()[:, 0]
        target[known] *= 1 - self.options.label_weight
        target[known, labels[known]] += self.options.label_weight
        return target

    def loss(self, model: nn.Module, inputs: Tensor, target: Tensor) -> Tensor:
        """Cross entropy with the target's probabilities, a scalar."""
        temperature = self.options.temperature
        logits = model(inputs).float() / temperature
        return functional.cross_entropy(logits, target.to(inputs.device)) * temperature**2

    def evaluate(self, model: nn.Module, side: int) -> dict[str, float]:
        """``top1``, ``top5`` in [0, 1] over the pictures with labels, agreement with the teacher over the others.

        And ``val_loss``, the mean cross entropy over all of them, with the teacher's best class as a missing label.
        """
        outputs: list[NDArray[np.float32]] = []
        figures = self.measure(classifier_preprocessing(side), watched(torch_predict(model), outputs))
        labels = [file.label for files in (self.validation, self.agreement) for file in files.files]
        right = np.concatenate(outputs)[range(len(labels)), labels]
        return {**figures, "val_loss": float(-np.log(right.astype(np.float64).clip(1e-12)).mean())}

    def measure(self, rule: Preprocessing, predict: Predict, groups: tuple[str, ...] | None = None) -> dict[str, float]:
        """Figures of ``evaluate`` for any predictor, and those of ``groups``, if each class has one."""
        figures: dict[str, float] = {}
        for prefix, files in (("", self.validation), ("agreement_", self.agreement)):
            if files.files:
                found = predicted_figures(predict, "classify", self.names, rule, Labelled.of(files), groups)
                figures |= {prefix + key: value for key, value in found.items()}
        return figures


def _labelled(
    known: tuple[str, ...], root: Path | None
) -> tuple[tuple[str, ...], tuple[LabelledFile, ...], tuple[LabelledFile, ...]]:
    """All class names, and the labelled files of both splits."""
    if root is None:
        return known, (), ()
    splits = [find_classification(root, split) for split in ("train", "val")]
    names = (*known, *(name for name in splits[0].names if name not in known))
    number = {name: label for label, name in enumerate(names)}
    training, validation = (
        tuple(LabelledFile(file.path, file.rectangle, number[split.names[file.label]]) for file in split.files)
        for split in splits
    )
    return names, training, validation


def _unlabelled(folders: Sequence[Path]) -> tuple[list[LabelledFile], list[LabelledFile]]:
    """The pictures in the folders and below, for training and, one in twenty by its name's digest, for validation."""
    plain: list[LabelledFile] = []
    held: list[LabelledFile] = []
    for folder in folders:
        for path in pictures_below(folder):
            chosen = held if is_held_out(path.relative_to(folder).as_posix(), HELD_OUT) else plain
            chosen.append(LabelledFile(path, None, -1))
    return plain, held
