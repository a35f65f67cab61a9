"""Pictures with boxes around their objects, in the one form that all layouts are read into."""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from emo.data.pictures import sizes_of

IGNORED = -1
"""In the place of a label: there may be an object or not, so neither is learned."""
_LEAST_SIDE = 1  # pixels of a box that can be learned from


@dataclass(frozen=True, slots=True)
class Thing:
    """An object: corners in pixels of the picture as shown, the number of its class, and what COCO says beside that.

    Without an ``area`` (pixels) it is that of the box. A crowd is not looked for, but may be found.
    """

    box_xyxy: tuple[float, float, float, float]
    label: int
    area: float | None = None
    is_crowd: bool = False


@dataclass(frozen=True, slots=True)
class BoxedImage:
    """One picture of a detection data set with its objects; ``image_id`` counts from 1."""

    path: Path
    image_id: int
    boxes_xyxy: NDArray[np.float64]  # (K, 4) in pixels of the picture as shown
    labels: NDArray[np.int64]  # (K,)
    areas: NDArray[np.float64]  # (K,) in pixels
    crowds: NDArray[np.bool_]  # (K,)
    size: tuple[int, int] | None = None  # (width, height) where the data set states it

    @classmethod
    def of(cls, path: Path, image_id: int, things: Sequence[Thing], size: tuple[int, int] | None = None) -> Self:
        """A picture with these objects."""
        boxes = np.array([thing.box_xyxy for thing in things], np.float64).reshape(-1, 4)
        whole = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        areas = [box if thing.area is None else thing.area for thing, box in zip(things, whole.tolist(), strict=True)]
        return cls(
            path,
            image_id,
            boxes,
            np.array([thing.label for thing in things], np.int64),
            np.array(areas, np.float64),
            np.array([thing.is_crowd for thing in things], np.bool_),
            size,
        )

    @property
    def targets(self) -> NDArray[np.int64]:
        """What is learned of each object, (K,): its label, of a crowd ``IGNORED``."""
        return np.where(self.crowds, IGNORED, self.labels)

    def chosen(self, rows: NDArray[np.bool_]) -> Self:
        """The same picture with some of its objects, (K,)."""
        return replace(
            self,
            boxes_xyxy=self.boxes_xyxy[rows],
            labels=self.labels[rows],
            areas=self.areas[rows],
            crowds=self.crowds[rows],
        )


@dataclass(frozen=True, slots=True)
class BoxedImages:
    """One split of a detection data set; label i is called ``names[i]``.

    ``root`` is the folder that the names of its pictures are relative to, ``sources`` are the files that it was read
    from.
    """

    names: tuple[str, ...]
    images: tuple[BoxedImage, ...]
    root: Path
    sources: tuple[Path, ...] = ()

    def learnable(self) -> Self:
        """Without boxes of hardly a pixel; crowds stay, as regions where nothing is learned."""
        return replace(self, images=tuple(image.chosen(_can_be_learned(image)) for image in self.images))

    def check_objects(self) -> None:
        """Raise ValueError when there is nothing to find: no average precision is defined then."""
        if not any((~image.crowds).any() for image in self.images):
            source = self.sources[0] if len(self.sources) == 1 else self.root
            msg = f"{source}: there are no objects to measure with, in {len(self.images)} pictures"
            raise ValueError(msg)


def _can_be_learned(image: BoxedImage) -> NDArray[np.bool_]:
    sides = image.boxes_xyxy[:, 2:] - image.boxes_xyxy[:, :2]
    rows: NDArray[np.bool_] = (sides[:, 0] > _LEAST_SIDE) & (sides[:, 1] > _LEAST_SIDE)
    return rows


def size_faults(images: Iterable[BoxedImage]) -> dict[Path, str]:
    """What is wrong with picture files, by their headers: missing, unreadable, or of another size than is stated.

    Boxes that were drawn on a picture before its EXIF orientation was applied lie elsewhere in what is shown.
    """
    faults: dict[Path, str] = {}
    for image in images:
        try:
            sizes = sizes_of(image.path)
        except (OSError, ValueError) as error:
            faults[image.path] = str(error)
            continue
        if image.size is None or image.size == sizes.shown:
            continue
        fault = f"{image.path} has {sizes.shown[0]} x {sizes.shown[1]} pixels, its boxes are for {_by(image.size)}"
        if image.size == sizes.stored:
            fault += (
                ", which it has before it is turned as its EXIF orientation says, and everybody sees it turned: remove "
                "the orientation from the file (exiftool -Orientation= FILE), or turn boxes and size too"
            )
        faults[image.path] = fault
    return faults


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def check_names(names: Collection[str]) -> None:
    """Raise ValueError, which names the first of them, when classes cannot be told apart by their names."""
    seen: set[str] = set()
    for name in names:
        if not name.strip() or name in seen:
            reason = "it is there twice" if name.strip() else "it is empty"
            msg = f"{name!r} cannot be a class name: {reason}"
            raise ValueError(msg)
        seen.add(name)


def as_number(value: object, what: str) -> float:
    """A finite number; raise ValueError, which says ``what`` it should be, for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        msg = f"{what} is {value!r}, wanted is a number"
        raise ValueError(msg)
    return float(value)
