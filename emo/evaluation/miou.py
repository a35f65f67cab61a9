"""Intersection over union of a segmenter, as in mmsegmentation: over the pixels of all pictures, then the mean."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask

from emo.evaluation.answers import Answer
from emo.evaluation.images import PictureFile, key_of
from emo_serve.picture_files import is_picture


@dataclass(frozen=True, slots=True)
class Mapped:
    """Pictures with a map of the same size each, whose pixels are a class plus ``first``; ``ignored`` means none."""

    pictures: tuple[PictureFile, ...]
    maps: tuple[Path, ...]
    first: int
    ignored: int
    names: tuple[str, ...] = ()  # such data sets have no class names: they are matched by order

    def figures(self, answers: Sequence[Answer], names: tuple[str, ...]) -> dict[str, float]:
        """``miou``, ``mean_accuracy``, ``pixel_accuracy`` and ``iou <class>``, in [0, 1].

        Means are over the classes that occur: a class that was only predicted has an IoU of 0, one that neither occurs
        nor is predicted has none. ``names`` are those of the classes.
        """
        count = len(names)
        pixels = np.zeros((count, count), np.int64)  # [true, predicted]
        for picture, path, answer in zip(self.pictures, self.maps, answers, strict=True):
            there, found = self._read(path, count), class_map(answer)
            if there.shape != found.shape:
                msg = f"{picture.key} has {found.shape} rows and columns as shown, its map {path.name} {there.shape}"
                raise ValueError(msg)
            counted = there >= 0
            pairs = there[counted] * count + found[counted]
            pixels += np.bincount(pairs, minlength=count * count).reshape(count, count)
        right, of_class = np.diag(pixels), pixels.sum(axis=1)
        union = of_class + pixels.sum(axis=0) - right
        if not of_class.any():
            msg = "the maps hold no pixel of any class"
            raise ValueError(msg)
        return {
            "miou": float(np.mean(right[union > 0] / union[union > 0])),
            "mean_accuracy": float(np.mean(right[of_class > 0] / of_class[of_class > 0])),
            "pixel_accuracy": float(right.sum() / of_class.sum()),
            **{f"iou {names[label]}": float(right[label] / union[label]) for label in np.flatnonzero(union)},
        }

    def _read(self, path: Path, count: int) -> NDArray[np.int64]:
        """The class of every pixel (H, W), -1 if it does not count."""
        with Image.open(path) as opened:
            values = np.asarray(opened)
        if values.ndim != 2:
            msg = f"{path}: a map has one number a pixel (grey or palette), this is {opened.mode}"
            raise ValueError(msg)
        labels = values.astype(np.int64) - self.first
        labels[values == self.ignored] = -1
        if labels.max() >= count or (labels < -1).any():
            msg = f"{path} holds the value {values.max()}; the model has {count} classes, from {self.first} on"
            raise ValueError(msg)
        return labels


def class_map(answer: Answer) -> NDArray[np.int64]:
    """The class of every pixel (H, W), composed of the areas."""
    full = np.zeros(answer.size or (0, 0), np.int64)
    for label, counts in zip(answer.labels, answer.runs or [], strict=True):
        full[mask.decode({"size": answer.size, "counts": counts}).astype(np.bool_)] = label
    return full


def read_mapped(root: Path) -> Mapped:
    """The validation split at ``root``, in one of two layouts.

    ADE20K's (of the scene parsing benchmark): ``images/validation/<x>.jpg`` and ``annotations/validation/<x>.png``,
    whose pixels are the class plus 1, and 0 for none. Pascal VOC's: ``JPEGImages/<x>.jpg`` and
    ``SegmentationClass/<x>.png`` for each line x of ``ImageSets/Segmentation/val.txt``, whose pixels are the class
    (background is one), and 255 for none. Raise FileNotFoundError if there is neither, or a map is missing.
    """
    names = root / "ImageSets" / "Segmentation" / "val.txt"
    if names.exists():
        stems = names.read_text(encoding="utf-8").split()
        pictures = [root / "JPEGImages" / f"{stem}.jpg" for stem in stems]
        return _mapped(root, pictures, root / "SegmentationClass", first=0, ignored=255)
    pictures = sorted(_pictures(root / "images" / "validation"))
    if not pictures:
        msg = f"{root} has neither images/validation (ADE20K) nor ImageSets/Segmentation/val.txt (Pascal VOC)"
        raise FileNotFoundError(msg)
    return _mapped(root, pictures, root / "annotations" / "validation", first=1, ignored=0)


def _pictures(folder: Path) -> Iterator[Path]:
    return (path for path in folder.glob("*") if is_picture(path))


def _mapped(root: Path, pictures: list[Path], folder: Path, *, first: int, ignored: int) -> Mapped:
    maps = [folder / f"{path.stem}.png" for path in pictures]
    missing = [path for path in (*pictures, *maps) if not path.exists()]
    if missing:
        msg = f"{missing[0]} is missing" + (f", and {len(missing) - 1} more" if len(missing) > 1 else "")
        raise FileNotFoundError(msg)
    files = tuple(PictureFile(key_of(path, root), path) for path in pictures)
    return Mapped(files, tuple(maps), first, ignored)
