"""YOLO's label files: a text file for each picture, a line for each object, in fractions of the upright picture."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from emo.data.boxes import Annotation, BoxedImage, BoxedImages, check_names
from emo.data.pictures import sizes_of
from emo.data.splits import SPLIT_NAMES, class_name, existing, split_apart, subfolder, text_of
from emo_serve.picture_files import is_picture, pictures_below

_SLACK = 0.01  # tolerance for numbers outside the picture, as labelling tools round


@dataclass(frozen=True, slots=True)
class Yolo:
    """A YOLO data set; ``places`` are the entries of its ``source``, if YAML, for each split, relative to ``base``."""

    root: Path
    names: tuple[str, ...]
    source: Path
    places: Mapping[str, list[str]]
    base: Path
    has_keypoints: bool = False


def find_yolo(root: Path) -> Yolo | None:
    """The data set at ``root``: a ``data.yaml`` (or another single one with ``names``), or ``labels/`` somewhere.

    Raise ValueError if that is broken, or if nothing names the classes.
    """
    described = [(path, content) for path in sorted(root.glob("*.y*ml")) if (content := _described(path))]
    described = [one for one in described if one[0].name == "data.yaml"] or described
    if len(described) > 1:
        msg = f"{root} has several: {', '.join(path.name for path, _ in described)}; leave one of them"
        raise ValueError(msg)
    if described:
        path, content = described[0]
        places = {
            split: [place for name in SPLIT_NAMES[split] for place in _listed(path, content.get(name))]
            for split in ("train", "val")
        }
        base = root / str(content.get("path", ""))  # missing if it refers to Ultralytics' own folder
        names, has_keypoints = _names(path, content["names"]), "kpt_shape" in content
        return Yolo(root, names, path, places, base if base.is_dir() else root, has_keypoints)
    has_labels = any(subfolder(folder, {"labels"}) for folder in (root, *root.glob("*")) if folder.is_dir())
    for path in (root / "classes.txt", root / "labels" / "classes.txt", root / "obj.names"):
        if path.exists() and (has_labels or any(map(_label_file, pictures_below(root)))):
            lines = text_of(path).splitlines()
            return Yolo(root, _names(path, [line.strip() for line in lines if line.strip()]), path, {}, root)
    if not has_labels:
        return None
    msg = f"{root} has YOLO's labels/, but nothing that names their classes: a data.yaml with names, or classes.txt"
    raise ValueError(msg)


def _described(path: Path) -> dict[str, Any] | None:
    """The data set in a YAML file, None if the file describes something else."""
    try:
        # all scalars are text: YAML would convert class names such as yes, no or 007
        content = yaml.load(text_of(path), yaml.BaseLoader)  # noqa: S506  # it creates only text
    except (yaml.YAMLError, ValueError) as error:
        if path.name != "data.yaml":
            return None  # of another kind
        raise ValueError(str(error) if isinstance(error, ValueError) else f"{path}: {error}") from error
    return content if isinstance(content, dict) and "names" in content else None


def _listed(path: Path, value: object) -> list[str]:
    values: list[str] = value if isinstance(value, list) else [str(value)] if value else []
    if isinstance(value, dict) or not all(isinstance(place, str) for place in values):
        msg = f"{path}: {value!r} is no folder and no list of them"
        raise ValueError(msg)
    return values


def _names(path: Path, value: object) -> tuple[str, ...]:
    """Class names from a list, or a map by number; raise ValueError, which names the file, for anything else."""
    try:
        if isinstance(value, dict):
            numbered = {int(number): name for number, name in value.items()}
            if sorted(numbered) != list(range(len(value))):
                msg = f"the classes are numbered {sorted(numbered)}, wanted is 0 to {len(value) - 1}"
                raise ValueError(msg)  # noqa: TRY301  # it gets the name of the file
            value = [numbered[number] for number in range(len(value))]
        if not isinstance(value, list) or not value:
            msg = f"its names are {value!r}, wanted is a list"
            raise ValueError(msg)  # noqa: TRY301
        names = tuple(class_name(str(name)) for name in value)
        check_names(names)
    except (ValueError, TypeError) as error:
        msg = f"{path}: {error}"
        raise ValueError(msg) from error
    return names


def read_yolo(data: Yolo, split: str) -> BoxedImages:
    """The split ``train`` or ``val``; without the latter a fifth of the pictures is held out.

    A picture without a label file has no objects. Polygons are replaced by their bounding boxes. Raise
    FileNotFoundError if there are no pictures, ValueError, which names file and line, for invalid labels.
    """
    pictures = list(dict.fromkeys(_pictures(data, split)))
    if not pictures:
        msg = f"{data.root} has no pictures for the split {split}, see {data.source}"
        raise FileNotFoundError(msg)
    boxed, sources = [], [data.source]
    for number, picture in enumerate(pictures, 1):
        labels = _label_file(picture)
        if labels:
            sources.append(labels)
        boxed.append(BoxedImage.of(picture, number, list(_objects(data, labels, picture)) if labels else []))
    return BoxedImages(data.names, tuple(boxed), data.root, tuple(sources))


def _pictures(data: Yolo, split: str) -> list[Path]:
    measured = _of_split(data, "val")
    if measured or data.places.get("val"):
        return measured if split == "val" else _of_split(data, "train")
    images = subfolder(data.root, {"images"})
    everything = _of_split(data, "train") or [
        path for path in pictures_below(images or data.root) if images or _label_file(path)
    ]
    return split_apart(sorted(everything), data.root, split)


def _of_split(data: Yolo, split: str) -> list[Path]:
    if any(data.places.values()):
        return [picture for place in data.places[split] for picture in _at(data, place)]
    return list(_by_folder(data.root, split))


def _by_folder(root: Path, split: str) -> Iterator[Path]:
    """The pictures of ``images/<split>`` or ``<split>/images``."""
    images, folder = subfolder(root, {"images"}), subfolder(root, SPLIT_NAMES[split])
    for found in (images and subfolder(images, SPLIT_NAMES[split]), folder and subfolder(folder, {"images"})):
        if found:
            yield from pictures_below(found)


def _at(data: Yolo, place: str) -> Iterator[Path]:
    """The pictures of a folder, or of a text file that lists them."""
    stripped = place
    while stripped.startswith("../"):  # Roboflow writes ../train/images, relative to a folder further down
        stripped = stripped.removeprefix("../")
    candidates = [folder / one for one in (place, stripped) for folder in (data.base, data.root)]
    path = next((path for path in candidates if path.exists()), None)
    if path is None:
        msg = f"{data.source} names {place}, which is not there"
        raise FileNotFoundError(msg)
    if path.is_dir():
        yield from pictures_below(path)
    elif is_picture(path):
        yield path
    else:
        lines = (line.strip() for line in text_of(path).splitlines())
        for line in filter(None, lines):
            beside = existing(path.parent, line)
            yield beside if beside.exists() else existing(data.root, line)


def _label_file(picture: Path) -> Path | None:
    """The label file in ``labels/`` if the picture is in ``images/``, or beside it."""
    candidates = [picture.with_suffix(".txt")]
    parts = list(picture.parts)
    at = next((place for place in reversed(range(len(parts) - 1)) if parts[place].lower() == "images"), None)
    if at is not None:
        parts[at] = "labels"
        candidates.insert(0, Path(*parts).with_suffix(".txt"))
    return next((path for path in candidates if path.exists()), None)


def _objects(data: Yolo, labels: Path, picture: Path) -> Iterator[Annotation]:
    lines = text_of(labels).splitlines()
    if not any(line.strip() for line in lines):
        return
    width, height = _size(picture)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            label, box = _parse(line, data.has_keypoints)
            if not 0 <= label < len(data.names):
                msg = f"class {label}, and there are {len(data.names)} names"
                raise ValueError(msg)  # noqa: TRY301  # it gets the name of the file
        except ValueError as error:
            msg = f"{labels}, line {number}: {error}"
            raise ValueError(msg) from error
        x1, y1, x2, y2 = (min(max(value, 0.0), 1.0) for value in box)
        yield Annotation((x1 * width, y1 * height, x2 * width, y2 * height), label)


def _size(picture: Path) -> tuple[int, int]:
    try:
        return sizes_of(picture).shown
    except (OSError, ValueError):
        return (1, 1)  # reported later with all unreadable pictures


def _parse(line: str, has_keypoints: bool) -> tuple[int, tuple[float, float, float, float]]:  # noqa: FBT001  # one of two forms
    """The class and the corners, in fractions."""
    values = [float(word) for word in line.split()]
    if has_keypoints:
        values = values[:5]
    number, *rest = values
    if not number.is_integer():
        msg = f"{number} is no number of a class"
        raise ValueError(msg)
    if len(rest) == 4:
        x, y, width, height = rest
        if width < 0 or height < 0:
            msg = f"a box of {width} x {height}"
            raise ValueError(msg)
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    elif len(rest) >= 6 and len(rest) % 2 == 0:
        box = (min(rest[::2]), min(rest[1::2]), max(rest[::2]), max(rest[1::2]))
    else:
        msg = f"{len(values)} numbers, wanted are a class and x, y, width, height, or a polygon"
        raise ValueError(msg)
    if not all(-_SLACK <= value <= 1 + _SLACK for value in rest):
        msg = f"{line.strip()[:60]!r} reaches out of the picture: YOLO's boxes are fractions of it, centre and size"
        raise ValueError(msg)
    return int(number), box
