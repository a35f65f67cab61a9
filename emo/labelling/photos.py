"""The photos to label, and their ground truth."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from emo.data.boxes import BoxedImage, size_faults
from emo.data.coco import read_coco
from emo.data.pictures import check_readable, sizes_of
from emo.data.splits import name_in
from emo.labelling.labels import TRUE, Known, Label
from emo_serve.errors import ServiceError
from emo_serve.picture_files import pictures_below
from emo_serve.vision.image import ImageLimits, decode


@dataclass(frozen=True, slots=True)
class Photo:
    """A picture file; ``name`` is relative to the common folder, ``size`` is (width, height), upright."""

    path: Path
    name: str
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Photos:
    """Readable photos, and the faults of others; ``root`` is the folder that names are relative to."""

    root: Path
    photos: tuple[Photo, ...]
    faults: tuple[str, ...] = ()


def find_photos(data: Path) -> Photos:
    """All pictures in a folder and below, or those that a COCO JSON lists.

    Shows a progress bar. Raise ValueError if none can be read.
    """
    if data.is_file():
        root = images_of(data)
        paths = [image.path for image in read_coco(data, root).images]
    else:
        root, paths = data, list(pictures_below(data))
    photos, faults = [], []
    for path in tqdm(sorted(paths), "sizes", unit="img", mininterval=2):
        try:
            photos.append(Photo(path, name_in(root, path), sizes_of(path).shown))
        except (OSError, ValueError) as error:
            faults.append(str(error))
    if not photos:
        msg = f"{data} has no picture that can be read" + (f": {faults[0]}" if faults else "")
        raise ValueError(msg)
    return Photos(root, tuple(photos), tuple(faults))


def images_of(annotations: Path) -> Path:
    """The folder that the file names of a COCO JSON are relative to: its own, or in COCO's layout that of its split."""
    root, split = annotations.parent.parent, annotations.stem.removeprefix("instances_")
    if annotations.parent.name == "annotations":
        return next((path for path in (root / split, root / "images" / split) if path.is_dir()), root)
    return annotations.parent


def read_ground_truth(
    annotations: Path, photos: Photos, renamed: Mapping[str, str]
) -> tuple[tuple[str, ...], dict[Path, Known]]:
    """The classes of a COCO JSON, and its labels of those pictures that are among the photos, by their path.

    Pictures are located by the JSON's paths, then by file name among the photos; prints how many match. Raise
    ValueError if none does, or one does not have the stated size.
    """
    boxed = read_coco(annotations, images_of(annotations))
    names = tuple(renamed.get(name, name) for name in boxed.names)
    paths = {photo.path.resolve(): photo.path for photo in photos.photos}
    known, images = {}, []
    for image in boxed.images:
        places = (image.path, photos.root / name_in(boxed.root, image.path))
        path = next((paths[place.resolve()] for place in places if place.resolve() in paths), None)
        if path:
            images.append(replace(image, path=path))
            known[path] = Known(_labels(image, names), frozenset(names))
    if not known:
        msg = f"{annotations}: none of its {len(boxed.images)} pictures is among the {len(paths)} in {photos.root}"
        raise ValueError(msg)
    check_readable([*size_faults(images).values()])
    print(f"true boxes: {len(known)} of the {len(boxed.images)} pictures in {annotations} are among the photos")
    return names, known


def _labels(image: BoxedImage, names: tuple[str, ...]) -> tuple[Label, ...]:
    rows = zip(image.boxes_xyxy.tolist(), image.labels, image.areas.tolist(), image.crowds.tolist(), strict=True)
    return tuple(
        Label(names[label], (x1, y1, x2, y2), 1.0, TRUE, is_ignored=crowd, area=area)
        for (x1, y1, x2, y2), label, area, crowd in rows
    )


def is_readable(path: Path) -> bool:
    """True if the server's decoder accepts the whole file."""
    try:
        decode(path.read_bytes(), ImageLimits()).upright()
    except ServiceError:
        return False
    return True
