"""The detection task: batches, loss, evaluation."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from emo.data.boxes import IGNORED, BoxedImage, BoxedImages, size_faults
from emo.data.detection import find_detection
from emo.data.passed import passed_over
from emo.data.pictures import check_readable, open_rgb
from emo.evaluation.coco import Boxed
from emo.evaluation.measure import predicted_figures
from emo.export.predict import Predict
from emo.models.preprocessing import detector_preprocessing, normalise
from emo.training.augment import jitter
from emo.training.losses import match_anchors, ssd_loss
from emo_serve.manifest import Preprocessing
from emo_serve.vision.boxes import areas

MOSAICS = (0.45, 0.4, 0.15)
"""Probabilities of one window, 2 x 2 and 3 x 3 mosaics."""
GREY = (124, 116, 104)


@dataclass(frozen=True, slots=True)
class Target:
    """Objects in a batch, from which the label (N, A) and box (N, A, 4) of each anchor are matched."""

    boxes_xyxy: list[Tensor]  # N times (K, 4), in pixels of the input
    labels: list[Tensor]  # N times (K,), ``IGNORED`` for a region


@dataclass(slots=True)
class DetectionTask:
    """A detection data set, its training pictures in memory."""

    training: BoxedImages
    validation: BoxedImages
    pictures: list[NDArray[np.uint8]]
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2))

    @classmethod
    def load(cls, root: Path, stored_side: int | None = None) -> Self:
        """Read both splits of ``root`` (see ``emo.data.detection``), and print what is skipped.

        Training pictures whose longer side has more than ``stored_side`` pixels are stored at that size. Raise
        ValueError for splits with different categories, or without objects, and for files that cannot be read or do not
        have the stated size.
        """
        training, validation = find_detection(root, "train"), find_detection(root, "val")
        if training.names != validation.names:
            differing = ", ".join(sorted({*training.names} ^ {*validation.names})) or "their order"
            msg = f"{root}: the categories of the two splits differ: {differing}"
            raise ValueError(msg)
        whole, training = training, training.learnable()
        if not any((~image.crowds).any() for image in training.images):
            msg = f"{root}: there are no boxes to train on"
            raise ValueError(msg)
        validation.check_objects()
        _print_passed_over(root, whole, validation)
        faults = size_faults((*training.images, *validation.images))
        shrunk = [_shrink(picture, image, stored_side) for image, picture in _open(training, "load", faults)]
        sized = [_sized(picture, image) for image, picture in _open(validation, "check", faults)]  # before training
        check_readable([*faults.values()])
        return cls(
            replace(training, images=tuple(image for _, image in shrunk)),
            replace(validation, images=tuple(sized)),
            [picture for picture, _ in shrunk],
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each label."""
        return self.training.names

    @property
    def count(self) -> int:
        """Number of training pictures."""
        return len(self.pictures)

    @property
    def validation_count(self) -> int:
        """Number of validation pictures."""
        return len(self.validation.images)

    def frequencies(self) -> Tensor:
        """For each training picture the number of those with the rarest of its classes, or of those without objects."""
        shown = [np.unique(image.labels[~image.crowds]) for image in self.training.images]
        counts = np.bincount(np.concatenate(shown), minlength=len(self.names))
        empty = sum(not len(classes) for classes in shown)
        return torch.tensor([int(counts[classes].min()) if len(classes) else empty for classes in shown])

    def batches(
        self, rows: Sequence[Tensor], side: int, generator: torch.Generator, *, mosaics: bool = True
    ) -> Iterator[tuple[Tensor, Target]]:
        """For each batch of row numbers: normalised (N, 3, side, side) and targets."""
        grids = MOSAICS if mosaics else (1.0,)
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        for batch in rows:
            seeds = rng.integers(2**31, size=len(batch))
            views = list(self.pool.map(partial(self._view, side=side, grids=grids), batch.tolist(), seeds))
            pixels = torch.from_numpy(np.stack([view[0] for view in views])).permute(0, 3, 1, 2).float()
            inputs = normalise(jitter(pixels, 0.4, generator).permute(0, 2, 3, 1))
            yield inputs, Target([torch.from_numpy(view[1]) for view in views], [torch.from_numpy(v[2]) for v in views])

    def _view(
        self, row: int, seed: int, side: int, grids: tuple[float, ...]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int64]]:
        """A window of the picture, or a mosaic of 2 x 2 or 3 x 3 windows, this one first: distant objects are rare."""
        rng = np.random.default_rng(seed)
        grid = int(rng.choice(len(grids), p=grids)) + 1
        rows, cell = [row, *rng.integers(len(self.pictures), size=grid**2 - 1)], side // grid
        pixels = np.full((side, side, 3), GREY, np.uint8)  # the remainder of an indivisible side stays grey
        boxes, labels = [], []
        for place, other in enumerate(rows):
            top, left = place // grid * cell, place % grid * cell
            window = random_window(self.pictures[other], self.training.images[other], cell, rng)
            pixels[top : top + cell, left : left + cell] = window[0]
            boxes.append(window[1] + np.array([left, top, left, top], np.float32))
            labels.append(window[2])
        return pixels, np.concatenate(boxes), np.concatenate(labels)

    def loss(self, model: nn.Module, inputs: Tensor, target: Target) -> Tensor:
        """The SSD loss, a scalar."""
        raw: Any = model.raw
        return _loss(raw(inputs), target)

    def evaluate(self, model: nn.Module, side: int) -> dict[str, float]:
        """COCO's figures over the validation split, and ``val_loss`` there: the mean of the pictures' losses."""
        device = next(model.parameters()).device
        images = iter(self.validation.learnable().images)
        losses: list[float] = []
        detector: Any = model

        def predict(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
            with torch.no_grad():
                raw = detector.raw(normalise(torch.from_numpy(pixels).to(device)))
                for row, image in enumerate(islice(images, len(pixels))):
                    losses.append(_loss((raw[0], raw[1][[row]], raw[2][[row]]), _target(image, side)).item())
                boxes, scores = detector.decode(raw, side, side)
            return boxes.cpu().numpy(), scores.cpu().numpy()

        figures = self.measure(detector_preprocessing(side), predict)
        return {**figures, "val_loss": sum(losses) / len(losses)}

    def measure(self, rule: Preprocessing, predict: Predict, groups: tuple[str, ...] | None = None) -> dict[str, float]:
        """Figures of ``evaluate`` for any predictor, without the loss; the classes of a detector have no groups."""
        del groups
        return predicted_figures(predict, "detect", self.names, rule, Boxed.of(self.validation))


def _loss(raw: tuple[Tensor, Tensor, Tensor], target: Target) -> Tensor:
    """The SSD loss of anchors, logits and deltas."""
    anchors, logits, deltas = raw
    matched = [
        match_anchors(anchors.cpu(), boxes, labels, logits.shape[-1] - 1)
        for boxes, labels in zip(target.boxes_xyxy, target.labels, strict=True)
    ]
    targets, boxes = (torch.stack(parts).to(logits.device) for parts in zip(*matched, strict=True))
    return ssd_loss(anchors, logits.float(), deltas.float(), targets, boxes)


def _target(image: BoxedImage, side: int) -> Target:
    """The objects of a picture that is stretched to ``side`` pixels."""
    factors = side / np.array((image.size or (side, side)) * 2, np.float64)
    boxes = torch.from_numpy((image.boxes_xyxy * factors).astype(np.float32))
    return Target([boxes], [torch.from_numpy(image.targets)])


def _print_passed_over(root: Path, training: BoxedImages, validation: BoxedImages) -> None:
    splits = (training, validation)
    taken = [path for split in splits for path in (*split.sources, *(image.path for image in split.images))]
    if left := passed_over(root, taken, "without annotation"):
        print(f"passed over: {left}")


def _open(
    data: BoxedImages, description: str, faults: dict[Path, str]
) -> Iterator[tuple[BoxedImage, NDArray[np.uint8]]]:
    """The usable pictures (H, W, 3); each other one gets a line in ``faults``, unless it has one."""
    for image in tqdm(data.images, description, unit="img", mininterval=2):
        if image.path in faults:
            continue
        try:
            yield image, open_rgb(image.path)
        except (OSError, ValueError) as error:
            faults[image.path] = str(error)


def _sized(picture: NDArray[np.uint8], image: BoxedImage) -> BoxedImage:
    return replace(image, size=(picture.shape[1], picture.shape[0]))


def _shrink(picture: NDArray[np.uint8], image: BoxedImage, side: int | None) -> tuple[NDArray[np.uint8], BoxedImage]:
    """The picture with a longer side of at most ``side`` pixels, and its boxes."""
    height, width = picture.shape[:2]
    if side is None or max(height, width) <= side:
        return picture, image
    scale = side / max(height, width)
    small = Image.fromarray(picture).resize((round(width * scale), round(height * scale)), Image.Resampling.LANCZOS)
    factors = np.array([small.width / width, small.height / height] * 2)
    return np.asarray(small), replace(image, boxes_xyxy=image.boxes_xyxy * factors)


def random_window(
    picture: NDArray[np.uint8], image: BoxedImage, side: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int64]]:
    """A view (side, side, 3) of the picture with its boxes (K, 4) in view pixels and labels (K,).

    The window is between 0.45 and 1.6 times the picture's sides (grey outside of it), stretched by up to 4/3, mirrored
    half of the time. An object of which less than 40 % is visible becomes ``IGNORED``, as a crowd is: neither to be
    found nor background.
    """
    height, width = picture.shape[:2]
    scale, ratio = np.exp(rng.uniform(np.log(0.45), np.log(1.6))), np.exp(rng.uniform(-0.14, 0.14))
    window_w, window_h = width * scale * ratio, height * scale / ratio
    left = rng.uniform(min(0, width - window_w), max(0, width - window_w))
    top = rng.uniform(min(0, height - window_h), max(0, height - window_h))
    right, bottom = left + window_w, top + window_h
    source = (max(left, 0.0), max(top, 0.0), min(right, width), min(bottom, height))
    to_x, to_y = side / window_w, side / window_h
    corner = (round((source[0] - left) * to_x), round((source[1] - top) * to_y))
    size = (max(round((source[2] - source[0]) * to_x), 1), max(round((source[3] - source[1]) * to_y), 1))
    view = Image.new("RGB", (side, side), GREY)
    view.paste(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR, box=source), corner)
    boxes = (image.boxes_xyxy - np.array([left, top, left, top])) * np.array([to_x, to_y, to_x, to_y])
    clipped = boxes.clip(0, side)
    targets = np.where(areas(clipped) >= 0.4 * areas(boxes), image.targets, IGNORED)
    kept = (clipped[:, 2] - clipped[:, 0] > 4) & (clipped[:, 3] - clipped[:, 1] > 4)
    pixels = np.asarray(view)
    clipped = clipped[kept].astype(np.float32)
    if rng.random() < 0.5:
        pixels = np.ascontiguousarray(pixels[:, ::-1])
        clipped[:, [0, 2]] = side - clipped[:, [2, 0]]
    return pixels, clipped, targets[kept]
