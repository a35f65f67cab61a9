"""Pictures with boxes around their objects: the common form of all data set layouts."""

import contextlib
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from emo.data.pictures import sizes_of

IGNORED = -1
"""Label of a region in which there may be an object or not, so that neither is learned."""
_SHOWN = 40  # characters of what is no number
_LEAST_SIDE = 1  # pixels of a learnable box


@dataclass(frozen=True, slots=True)
class Annotation:
    """An object: corners in pixels of the upright picture, class number, and further attributes of COCO.

    ``area`` (pixels) is that of the box if None. A crowd need not be found, but may be.
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
    boxes_xyxy: NDArray[np.float64]  # (K, 4) in pixels of the upright picture
    labels: NDArray[np.int64]  # (K,)
    areas: NDArray[np.float64]  # (K,) in pixels
    crowds: NDArray[np.bool_]  # (K,)
    size: tuple[int, int] | None = None  # (width, height) if the data set states it

    @classmethod
    def of(cls, path: Path, image_id: int, objects: Sequence[Annotation], size: tuple[int, int] | None = None) -> Self:
        """A picture with these objects."""
        boxes = np.array([one.box_xyxy for one in objects], np.float64).reshape(-1, 4)
        whole = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        areas = [box if one.area is None else one.area for one, box in zip(objects, whole.tolist(), strict=True)]
        return cls(
            path,
            image_id,
            boxes,
            np.array([one.label for one in objects], np.int64),
            np.array(areas, np.float64),
            np.array([one.is_crowd for one in objects], np.bool_),
            size,
        )

    @property
    def targets(self) -> NDArray[np.int64]:
        """The training target of each object, (K,): its label, ``IGNORED`` for a crowd."""
        return np.where(self.crowds, IGNORED, self.labels)

    def chosen(self, rows: NDArray[np.bool_]) -> Self:
        """A copy of the picture with the selected objects; ``rows`` (K,)."""
        return replace(
            self,
            boxes_xyxy=self.boxes_xyxy[rows],
            labels=self.labels[rows],
            areas=self.areas[rows],
            crowds=self.crowds[rows],
        )


@dataclass(frozen=True, slots=True)
class BoxedImages:
    """One split of a detection data set; class i is called ``names[i]``.

    ``root`` is the folder that the names of its pictures are relative to, ``sources`` are the files that it was read
    from.
    """

    names: tuple[str, ...]
    images: tuple[BoxedImage, ...]
    root: Path
    sources: tuple[Path, ...] = ()

    def learnable(self) -> Self:
        """A copy without tiny boxes; crowds stay, as regions where nothing is learned."""
        return replace(self, images=tuple(image.chosen(_can_be_learned(image)) for image in self.images))

    def check_objects(self) -> None:
        """Raise ValueError if there are no objects, as average precision is undefined then."""
        if not any((~image.crowds).any() for image in self.images):
            source = self.sources[0] if len(self.sources) == 1 else self.root
            msg = f"{source}: there are no objects to measure with, in {len(self.images)} pictures"
            raise ValueError(msg)


def _can_be_learned(image: BoxedImage) -> NDArray[np.bool_]:
    sides = image.boxes_xyxy[:, 2:] - image.boxes_xyxy[:, :2]
    rows: NDArray[np.bool_] = (sides[:, 0] > _LEAST_SIDE) & (sides[:, 1] > _LEAST_SIDE)
    return rows


def size_faults(images: Iterable[BoxedImage]) -> dict[Path, str]:
    """Faults of picture files by their headers: missing, unreadable, not of the stated size, or smaller than its boxes.

    Boxes that were drawn on a picture before its EXIF orientation was applied, or before it was resized, would be at
    the wrong place.
    """
    faults: dict[Path, str] = {}
    for image in images:
        try:
            sizes = sizes_of(image.path)
        except (OSError, ValueError) as error:
            faults[image.path] = str(error)
            continue
        if image.size is None or image.size == sizes.shown:
            if (outside := _first_outside(image.boxes_xyxy, sizes.shown)) is not None:
                corners = ", ".join(f"{value:g}" for value in outside)
                fault = f"{image.path} has {_by(sizes.shown)} pixels, and the box from {corners} lies outside of it"
                faults[image.path] = fault
            continue
        fault = f"{image.path} has {sizes.shown[0]} x {sizes.shown[1]} pixels, its boxes are for {_by(image.size)}"
        if image.size == sizes.stored:
            fault += (
                ", which it has before it is turned as its EXIF orientation says, and everybody sees it turned: remove "
                "the orientation from the file (exiftool -Orientation= FILE), or turn boxes and size too"
            )
        faults[image.path] = fault
    return faults


def _first_outside(boxes_xyxy: NDArray[np.float64], size: tuple[int, int]) -> list[float] | None:
    """The first box that has nothing in common with its picture."""
    outside = (boxes_xyxy[:, :2] > size).any(axis=1) | (boxes_xyxy[:, 2:] < 0).any(axis=1)
    return boxes_xyxy[outside.argmax()].tolist() if outside.any() else None


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def check_names(names: Collection[str]) -> None:
    """Raise ValueError, which names the first duplicate, if class names are not unique."""
    seen: set[str] = set()
    for name in names:
        if not name.strip() or name in seen:
            reason = "it is there twice" if name.strip() else "it is empty"
            msg = f"{name!r} cannot be a class name: {reason}"
            raise ValueError(msg)
        seen.add(name)


def as_number(value: object, what: str) -> float:
    """A finite number; raise ValueError, which says ``what`` it should be, for anything else."""
    number = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):  # JSON's integers have any number of digits
            number = float(value)
    if not math.isfinite(number):
        msg = f"{what} is {repr(value)[:_SHOWN]}, wanted is a number"
        raise ValueError(msg)
    return number
