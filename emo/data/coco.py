"""COCO's JSON of boxes, as written by its own tools, Roboflow, CVAT, Label Studio and scripts."""

import contextlib
import json
from collections import Counter
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from emo.data.boxes import Annotation, BoxedImage, BoxedImages, as_number, check_names
from emo.data.splits import SPLIT_NAMES, class_name, existing, subfolder

_ROBOFLOW = "_annotations.coco.json"


class CocoFile(NamedTuple):
    """A COCO JSON, and the folder that its file names are relative to."""

    annotations: Path
    images: Path


def find_coco(root: Path, split: str) -> CocoFile:
    """The COCO JSON of the split ``train`` or ``val`` of ``root``, and the folder its file names are relative to.

    Either ``instances_<split>.json`` and ``root`` itself, or COCO's own ``annotations/instances_<split>2017.json`` (any
    year, or none) and ``<split>2017`` or ``images/<split>2017``, or Roboflow's ``<split>/_annotations.coco.json``;
    splits may have any of ``SPLIT_NAMES``. Raise FileNotFoundError if there is none of them, ValueError for several.
    """
    names = SPLIT_NAMES[split]
    plain = [path for name in names if (path := root / f"instances_{name}.json").exists()]
    below = sorted((root / "annotations").glob("instances_*.json"))
    found = plain or [path for path in below if path.stem.removeprefix("instances_").rstrip("0123456789") in names]
    folder = subfolder(root, names)
    if not found and folder and (folder / _ROBOFLOW).exists():
        return CocoFile(folder / _ROBOFLOW, folder)
    if not found:
        msg = f"{root} has neither instances_{split}.json nor annotations/instances_{split}<year>.json"
        raise FileNotFoundError(msg)
    if len(found) > 1:
        msg = f"{root} has several: {', '.join(path.name for path in found)}; leave one of them"
        raise ValueError(msg)
    if plain:
        return CocoFile(plain[0], root)
    stem = found[0].stem.removeprefix("instances_")
    places = [path for path in (root / stem, root / "images" / stem) if path.is_dir()]
    return CocoFile(found[0], [*places, root / stem][0])


def read_coco(annotations: Path, images: Path, others: tuple[Path, ...] = ()) -> BoxedImages:
    """The objects of a COCO JSON whose file names are relative to ``images``, in its order.

    Class ids follow the order of the categories' ids, which may be numbers or text, and annotations are renumbered. A
    missing ``iscrowd`` is 0, a missing ``area`` that of the box. A category that is the ``supercategory`` of others and
    has no objects, here or in ``others`` (the JSONs of the other splits), is not a class. Raise ValueError, which names
    the file, if it is not a COCO JSON of boxes.
    """
    content = _load(annotations)
    try:
        empty = _empty_roots(content)
        for other in others if empty else ():
            empty -= {_id(box["category_id"]) for box in _load(other)["annotations"]}
        names, labels = _categories(content, empty)
        boxed = _images(content, labels, images)
    except KeyError as error:
        msg = f"{annotations}: no COCO JSON of boxes: {error} is missing, or named and not described"
    except (ValueError, TypeError, AttributeError) as error:
        msg = f"{annotations}: no COCO JSON of boxes: {error}"
    else:
        return BoxedImages(names, boxed, images, (annotations,))
    raise ValueError(msg)


def _load(path: Path) -> dict[str, Any]:
    """The content, in any encoding that JSON may have, with or without a byte order mark."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        msg = f"{path}: no COCO JSON of boxes: {error}"
        raise ValueError(msg) from error
    if isinstance(content, dict) and "shapes" in content:
        msg = f"{path}: no COCO JSON of boxes: it is labelme's, of a single picture; convert all of them into one"
        raise ValueError(msg)
    if not isinstance(content, dict):
        msg = f"{path}: no COCO JSON of boxes: it holds a {type(content).__name__}"
        raise ValueError(msg)  # noqa: TRY004  # the file is wrong, not an argument
    for key in ("images", "annotations", "categories"):
        entries = content.get(key)
        if entries is None:
            msg = f"{path}: no COCO JSON of boxes: '{key}' is missing"
            raise ValueError(msg)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            msg = f"{path}: no COCO JSON of boxes: '{key}' is no list of objects"
            raise ValueError(msg)
    return content


def _id(value: object) -> Hashable:
    """An id for comparison: 7, 7.0 and "7" are equal."""
    if isinstance(value, str):
        return int(value) if value.isdecimal() and str(int(value)) == value else value
    if isinstance(value, int) and not isinstance(value, bool):
        return value  # as a float, those made of digests would be rounded
    number = as_number(value, "an id")
    if number != int(number):
        msg = f"an id is {value!r}, wanted is a whole number or a text"
        raise ValueError(msg)
    return int(number)


def _rank(identity: Hashable) -> tuple[bool, Any]:
    """Sort key: numbers in numerical order, then texts in alphabetical order."""
    return isinstance(identity, str), identity


def _empty_roots(content: Mapping[str, Any]) -> set[Hashable]:
    """Supercategories without annotations, such as the one that Roboflow adds for the whole data set."""
    used = {_id(box["category_id"]) for box in content["annotations"]}
    above = {
        category.get("supercategory")
        for category in content["categories"]
        if category.get("supercategory") != category["name"] or _repeats(content, category["name"])
    }
    return {
        _id(category["id"])
        for category in content["categories"]
        if category["name"] in above and _id(category["id"]) not in used
    }


def _repeats(content: Mapping[str, Any], name: str) -> bool:
    """True if several categories have the name: a class may have the name of the whole data set."""
    return [category["name"] for category in content["categories"]].count(name) > 1


def _categories(content: Mapping[str, Any], left_out: set[Hashable]) -> tuple[tuple[str, ...], dict[Hashable, int]]:
    """The class names, and the class number of each category id."""
    names = {_id(category["id"]): category["name"] for category in content["categories"]}
    if len(names) < len(content["categories"]):
        msg = f"the category id {_repeated(content['categories'])!r} is there twice"
        raise ValueError(msg)
    ids = sorted(names.keys() - left_out, key=_rank)
    for identity in ids:
        if not isinstance(names[identity], str):
            msg = f"category {identity!r} is called {names[identity]!r}, wanted is a text"
            raise ValueError(msg)  # noqa: TRY004  # the file is wrong, not an argument
    chosen = tuple(class_name(names[identity]) for identity in ids)
    check_names(chosen)
    return chosen, {identity: label for label, identity in enumerate(ids)}


def _repeated(entries: list[dict[str, Any]]) -> object:
    return Counter(_id(entry["id"]) for entry in entries).most_common(1)[0][0]


def _images(content: Mapping[str, Any], labels: Mapping[Hashable, int], folder: Path) -> tuple[BoxedImage, ...]:
    ids = [_id(image["id"]) for image in content["images"]]
    objects: dict[Hashable, list[Annotation]] = {identity: [] for identity in ids}
    if len(objects) < len(ids):
        msg = f"the image id {_repeated(content['images'])!r} is there twice"
        raise ValueError(msg)
    widest = 0.0
    for number, box in enumerate(content["annotations"], 1):
        annotation = _object(box, f"annotation {box.get('id', number)!r}", labels)
        identity = _id(box["image_id"])
        if identity not in objects:
            msg = f"annotation {box.get('id', number)!r} is of image {box['image_id']!r}, which is not described"
            raise ValueError(msg)
        objects[identity].append(annotation)
        widest = max(widest, *annotation.box_xyxy)
    if 0 < widest <= 1:
        msg = "its boxes lie within the first pixel of their pictures: COCO's are in pixels, these may be fractions"
        raise ValueError(msg)
    rank = {identity: place for place, identity in enumerate(sorted(ids, key=_rank), 1)}
    boxed = tuple(
        BoxedImage.of(_path(image, folder), rank[identity], objects[identity], _size(image))
        for identity, image in zip(ids, content["images"], strict=True)
    )
    twice = [path for path, count in Counter(image.path for image in boxed).items() if count > 1]
    if twice:
        msg = f"the picture {twice[0].name!r} is there twice, under several ids"
        raise ValueError(msg)
    return boxed


def _object(box: Mapping[str, Any], what: str, labels: Mapping[Hashable, int]) -> Annotation:
    found = box.get("bbox")
    if not isinstance(found, list | tuple) or len(found) != 4:
        hint = " (its segmentation is not looked at)" if box.get("segmentation") else ""
        msg = f"{what} has the bbox {found!r}, wanted are x, y, width and height{hint}"
        raise ValueError(msg)
    x, y, width, height = (as_number(value, f"in the bbox of {what} a value") for value in found)
    if width < 0 or height < 0:
        msg = f"{what} has a bbox of {width:g} x {height:g} pixels"
        raise ValueError(msg)
    category = _id(box["category_id"])
    if category not in labels:
        msg = f"{what} is of category {box['category_id']!r}, which is not described"
        raise ValueError(msg)
    return Annotation((x, y, x + width, y + height), labels[category], _area(box), box.get("iscrowd") in (1, "1"))


def _area(box: Mapping[str, Any]) -> float | None:
    """The area in pixels; None if it is missing or none."""
    with contextlib.suppress(ValueError):
        area = as_number(box.get("area"), "an area")
        return area if area > 0 else None
    return None


def _path(image: Mapping[str, Any], folder: Path) -> Path:
    name = image["file_name"]
    if not isinstance(name, str) or not name:
        msg = f"the file_name of image {image['id']!r} is {name!r}, wanted is a text"
        raise ValueError(msg)
    return existing(folder, name)


def _size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    """(width, height) in pixels; None if missing, null or 0."""
    stated = [image.get(key) for key in ("width", "height")]
    if not all(stated):
        return None
    width, height = (
        as_number(int(side) if isinstance(side, str) and side.isdecimal() else side, f"a side of image {image['id']!r}")
        for side in stated
    )
    if width < 1 or height < 1:
        msg = f"image {image['id']!r} has {width:g} x {height:g} pixels"
        raise ValueError(msg)
    return int(width), int(height)
