"""Pascal VOC's XML files, one for each picture, as labelImg also writes them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from emo.data.boxes import Annotation, BoxedImage, BoxedImages, check_names
from emo.data.splits import SPLIT_NAMES, class_name, existing, split_apart, subfolder, text_of
from emo_serve.picture_files import files_below, is_picture

_ANNOTATIONS = ("annotations", "annotation")
_PICTURES = ("jpegimages", "images", "image")

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class _Described:
    """The content of one XML file, its corners as written."""

    file_name: str
    size: tuple[int, int] | None
    is_tools: bool
    """True if written by labelImg or another tool that leaves the source ``Unknown``."""
    objects: list[tuple[str, Box, bool]]


@dataclass(frozen=True, slots=True)
class Voc:
    """The XML files of a data set by split; without ``val`` some of ``train`` are held out."""

    root: Path
    files: dict[str, list[Path]]
    sources: tuple[Path, ...] = ()


def find_voc(root: Path) -> Voc | None:
    """The data set at ``root``: ``Annotations/*.xml``, or XML beside the pictures, with or without splits.

    Splits are the lists ``ImageSets/Main/train.txt`` and ``val.txt``, or folders.
    """
    below = subfolder(root, _ANNOTATIONS)
    by_split = {
        split: files
        for folder in (root, below)
        for split in ("train", "val")
        if folder and (found := subfolder(folder, SPLIT_NAMES[split])) and (files := _xml_in(found))
    }
    if by_split:
        return Voc(root, by_split)
    if below and (everything := _xml_in(below)):
        return _listed(root, everything)
    beside = sorted(root.glob("*.xml"))
    return Voc(root, {"train": beside}) if beside else None


def _xml_in(folder: Path) -> list[Path]:
    return [path for path in files_below(folder) if path.suffix.lower() == ".xml"]


def _listed(root: Path, everything: list[Path]) -> Voc:
    lists = root / "ImageSets" / "Main"
    by_stem = {path.stem: path for path in everything}
    files, sources = {}, []
    for split, names in {**SPLIT_NAMES, "both": ("trainval",)}.items():
        for path in (lists / f"{name}.txt" for name in names):
            if path.exists() and split != "test":
                sources.append(path)
                files[split] = [_named(path, line, by_stem) for line in _lines(path)]
    both = files.pop("both", everything)
    return Voc(root, files or {"train": both}, tuple(sources))


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in text_of(path).splitlines() if line.strip()]


def _named(path: Path, line: str, by_stem: dict[str, Path]) -> Path:
    """The XML that a line refers to: by its stem, which may contain spaces or be followed by a flag."""
    found = by_stem.get(line) or by_stem.get(line.split(maxsplit=1)[0])
    if not found:
        msg = f"{path} names {line}, of which there is no XML"
        raise FileNotFoundError(msg)
    return found


def read_voc(data: Voc, split: str) -> BoxedImages:
    """The split ``train`` or ``val``; without the latter a fifth of the pictures is held out.

    The classes are all names in all splits, in alphabetical order. What is ``difficult`` counts as VOC has it: it is
    not learned, need not be found, and may be. Corners are counted as ``_box`` says. Raise ValueError, which names the
    file, for XML that is something else, FileNotFoundError for a split without pictures.
    """
    described = {path: _read(path) for files in data.files.values() for path in files}
    names = tuple(sorted({name for one in described.values() for name, _, _ in one.objects}))
    check_names(names)
    files = data.files.get(split, [])
    if "val" not in data.files:
        files = split_apart(data.files.get("train", []), data.root, split)
    if not files:
        msg = f"{data.root} has no annotated pictures for the split {split}"
        raise FileNotFoundError(msg)
    label_of = {name: label for label, name in enumerate(names)}
    pictures = {folder: _pictures(data.root, folder) for folder in {path.parent for path in files}}
    has_zeros = any(min(corners[:2]) < 1 for one in described.values() for _, corners, _ in one.objects)
    boxed = []
    for number, path in enumerate(files, 1):
        one = described[path]
        objects = [
            Annotation(_box(corners, is_tools=one.is_tools, has_zeros=has_zeros), label_of[name], is_crowd=difficult)
            for name, corners, difficult in one.objects
        ]
        boxed.append(BoxedImage.of(_picture(pictures[path.parent], path, one), number, objects, one.size))
    return BoxedImages(names, tuple(boxed), data.root, (*data.sources, *files))


def _box(corners: Box, *, is_tools: bool, has_zeros: bool) -> Box:
    """A box xyxy in pixels from 0.

    VOC counts pixels from 1, and the last one belongs to the box. labelImg writes where the mouse was, from 0 to the
    width, but 1 instead of 0, which upset a reader of VOC. What counts from 0 shows it somewhere in its data set.
    """
    x1, y1, x2, y2 = corners
    if is_tools:
        return x1 * (x1 > 1), y1 * (y1 > 1), x2, y2
    return corners if has_zeros else (x1 - 1, y1 - 1, x2, y2)


def _pictures(root: Path, folder: Path) -> dict[Path, dict[str, Path]]:
    """Folders that may hold the pictures of the XML files in ``folder``, with their pictures by stem.

    That is beside them, or in a folder for pictures further up, at the same path below it or directly in it.
    """
    places = [folder]
    for above in folder.parents:
        if not above.is_relative_to(root):
            break
        if found := subfolder(above, _PICTURES):
            places += [found.joinpath(*folder.relative_to(above).parts[1:]), found]
    return {place: {path.stem: path for path in sorted(place.glob("*")) if is_picture(path)} for place in places}


def _picture(places: dict[Path, dict[str, Path]], path: Path, one: _Described) -> Path:
    """The picture of an XML file: the one it names, else the one with its stem."""
    name = one.file_name.replace("\\", "/").rsplit("/", 1)[-1]
    if name:
        for place in places:
            if (found := existing(place, name)).exists():
                return found
    by_stem = [pictures[path.stem] for pictures in places.values() if path.stem in pictures]
    return [*by_stem, [*places][-1] / (name or f"{path.stem}.jpg")][0]


def _read(path: Path) -> _Described:
    try:
        tree = ET.fromstring(path.read_bytes())  # noqa: S314  # local files; expat limits the expansion of entities
        if tree.tag != "annotation":
            msg = f"its root is <{tree.tag}>"
            raise ValueError(msg)  # noqa: TRY301  # it gets the name of the file
        width, height = (float(tree.findtext(f"size/{key}") or 0) for key in ("width", "height"))
        size = (int(width), int(height)) if 0 < width < float("inf") and 0 < height < float("inf") else None
        is_tools = (tree.findtext("source/database") or "").strip() == "Unknown"
        return _Described((tree.findtext("filename") or "").strip(), size, is_tools, list(_objects(tree)))
    except (ET.ParseError, ValueError, LookupError) as error:  # the last for an encoding that nobody knows
        msg = f"{path}: no XML of Pascal VOC: {error}"
        raise ValueError(msg) from error


def _objects(tree: ET.Element) -> Iterator[tuple[str, Box, bool]]:
    for thing in tree.iter("object"):
        name = class_name((thing.findtext("name") or "").strip())
        texts = [thing.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
        try:
            x1, y1, x2, y2 = (float(text or "") for text in texts)
        except ValueError:
            msg = f"the corners of {name!r} are {texts}"
            raise ValueError(msg) from None
        if not (0 <= x1 <= x2 < float("inf") and 0 <= y1 <= y2 < float("inf")):
            msg = f"the corners of {name!r} are {x1:g}, {y1:g}, {x2:g}, {y2:g}"
            raise ValueError(msg)
        yield name, (x1, y1, x2, y2), (thing.findtext("difficult") or "0").strip() in {"1", "true"}
