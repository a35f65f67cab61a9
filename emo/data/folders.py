"""Classification data from disk: folders of pictures, or contact sheets with a CSV index."""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from emo.data.pictures import open_upright, unreadable_kinds
from emo.data.splits import class_name, held_out, split_of, text_of
from emo_serve.picture_files import files_below, is_hidden, is_picture, pictures_below


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """A rectangle (x, y, width, height in pixels; None for all) of a picture file and its class number."""

    path: Path
    rectangle: tuple[int, int, int, int] | None
    label: int


@dataclass(frozen=True, slots=True)
class LabelledFiles:
    """One split of a classification data set; class i is called ``names[i]``.

    ``left`` are files in the folders of its classes that are not pictures or not readable, ``rows`` describes the rows
    of an index that belong to no split in use.
    """

    names: tuple[str, ...]
    files: tuple[LabelledFile, ...]
    left: tuple[Path, ...] = ()
    rows: tuple[str, ...] = ()

    def pictures(self, description: str, faults: list[str] | None = None) -> Iterator[tuple[Image.Image, int]]:
        """RGB pictures and labels in file order; a contact sheet is decoded once. Shows a progress bar.

        An unreadable file is skipped and described in ``faults``; if that is None, ValueError is raised.
        """
        sheet_path, sheet = None, None
        for file in tqdm(self.files, description, unit="img", mininterval=2):
            try:
                if file.path != sheet_path or sheet is None:
                    sheet_path, sheet = file.path, open_upright(file.path)
            except (OSError, ValueError) as error:
                if faults is None:
                    raise
                faults.append(str(error))
                continue
            picture = sheet
            if file.rectangle is not None:
                x, y, width, height = file.rectangle
                picture = sheet.crop((x, y, x + width, y + height))
            yield picture, file.label


def find_classification(root: Path, split: str) -> LabelledFiles:
    """The split ``train`` or ``val`` of ``root``, in one of three layouts.

    Either ``index.csv`` or ``index.csv.gz`` (split, file, x, y, w, h, class_id) with ``classes.csv`` (class_id, name
    and optionally sensitive: 1 leaves a class out), or one folder ``<split>/<class name>/`` of pictures a class, or,
    without splits, one folder ``<class name>/`` a class, of which the fifth whose names have the smallest SHA-256 is
    held out for validation. Splits may have any of ``emo.data.splits.SPLIT_NAMES``, class folders may have sub-folders.
    Raise FileNotFoundError if there is none of them.
    """
    for index in (root / "index.csv", root / "index.csv.gz"):
        if index.exists() and (root / "classes.csv").exists():
            return _from_index(root, index, split)
    training, validation = _class_folders(root)
    folders = validation if split == "val" and validation else training
    if not folders:
        msg = (
            f"{root} has neither index.csv nor folders <class name>/ of pictures, with or without train/ and val/ above"
        )
        raise FileNotFoundError(msg)
    return _from_folders(folders, None if validation else split)


def _class_folders(root: Path) -> tuple[list[Path], list[Path]]:
    """The folders of the classes for training and for validation; if the latter is empty, pictures are held out."""
    folders = _subfolders(root)
    splits = {folder: split for folder in folders if (split := split_of(folder.name)) and _holds_folders(folder)}
    if "train" not in splits.values():
        # a class may be named like a split and have sub-folders; but a split has the same classes as the one beside it
        beside = {class_name(folder.name) for folder in folders if folder not in splits and _holds_pictures(folder)}
        splits = {
            folder: split
            for folder, split in splits.items()
            if not beside or {class_name(below.name) for below in _subfolders(folder)} <= beside
        }
    for split, count in Counter(splits.values()).items():
        if count > 1:
            several = ", ".join(folder.name for folder, which in splits.items() if which == split)
            msg = f"{root} has several folders for the split {split}: {several}; leave one of them"
            raise ValueError(msg)
    below = {split: _subfolders(folder) for folder, split in splits.items()}
    others = [folder for folder in folders if folder not in splits]
    if splits:
        others = [folder for folder in others if _holds_pictures(folder)]
    return below.get("train", others), below.get("val", [])


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if not is_hidden(path.name) and path.is_dir())


def _holds_folders(folder: Path) -> bool:
    """True for a folder of folders rather than of pictures."""
    beside = sum(is_picture(path) for path in folder.iterdir())
    below = (picture for subfolder in _subfolders(folder) for picture in pictures_below(subfolder))
    return bool(_subfolders(folder)) and sum(1 for _ in islice(below, beside)) >= beside


def _holds_pictures(folder: Path) -> bool:
    return next(pictures_below(folder), None) is not None


def _from_folders(folders: list[Path], split: str | None) -> LabelledFiles:
    """All pictures of the folders, or those held out for a ``split`` that the data set does not have."""
    of_class: dict[str, list[Path]] = {}
    for folder in folders:
        of_class.setdefault(class_name(folder.name), []).append(folder)
    found = {name: {path: at for at in of_class[name] for path in files_below(at)} for name in sorted(of_class)}
    unreadable = unreadable_kinds(path for paths in found.values() for path in paths)
    files, left = [], []
    for label, paths in enumerate(found.values()):
        names = {path: path.relative_to(at).as_posix() for path, at in paths.items()}
        taken = {path: names[path] for path in paths if is_picture(path) and path.suffix.lower() not in unreadable}
        left += [path for path in paths if path not in taken]
        held = held_out(taken) if split else set()
        files += [LabelledFile(path, None, label) for path in taken if not split or (path in held) == (split == "val")]
    return LabelledFiles(tuple(found), tuple(files), tuple(left))


def _from_index(root: Path, index: Path, split: str) -> LabelledFiles:
    described = list(_rows(root / "classes.csv", ("class_id", "name")))
    classes = [row for row in described if row.get("sensitive", "0") != "1"]
    names = tuple(dict.fromkeys(class_name(row["name"]) for row in classes))
    label_of = {row["class_id"]: names.index(class_name(row["name"])) for row in classes}
    rows = list(_rows(index, ("split", "file", "x", "y", "w", "h", "class_id")))
    try:
        files = tuple(
            LabelledFile(
                root / row["file"],
                (int(row["x"]), int(row["y"]), int(row["w"]), int(row["h"])),
                label_of[row["class_id"]],
            )
            for row in rows
            if split_of(row["split"]) == split and row["class_id"] in label_of
        )
    except ValueError as error:
        msg = f"{index}: x, y, w and h are whole numbers of pixels: {error}"
        raise ValueError(msg) from error
    others = Counter(row["split"] for row in rows if split_of(row["split"]) not in {"train", "val"})
    left = [f"{count} rows of split {name!r}" for name, count in others.items()]
    known = {row["class_id"] for row in described}
    if unknown := sum(row["class_id"] not in known for row in rows):
        left.append(f"{unknown} rows of a class that classes.csv does not have")
    return LabelledFiles(names, files, rows=tuple(left))


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """The rows of a CSV table; what one lacks is empty. Raise ValueError, which names the file, for other columns."""
    table = csv.DictReader(io.StringIO(text_of(path), newline=""), restval="")
    missing = [column for column in columns if column not in (table.fieldnames or ())]
    if missing:
        msg = f"{path} has no column {' or '.join(missing)}; its first line must name {', '.join(columns)}"
        raise ValueError(msg)
    yield from table


def load_squares(
    files: LabelledFiles, side: int, faults: list[str] | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All pictures of a split as squares (N, side, side, 3) and labels (N,): short side to ``side``, centre cut out.

    If ``faults`` (see ``LabelledFiles.pictures``) is not empty afterwards, the result is unusable.
    """
    squares = np.empty((len(files.files), side, side, 3), np.uint8)
    labels = np.empty(len(files.files), np.int64)
    for row, (picture, label) in enumerate(files.pictures("load", faults)):
        short = min(picture.size)
        left, top = (picture.width - short) / 2, (picture.height - short) / 2
        box = (left, top, left + short, top + short)
        squares[row] = np.asarray(picture.resize((side, side), Image.Resampling.LANCZOS, box=box))
        labels[row] = label
    return squares, labels
