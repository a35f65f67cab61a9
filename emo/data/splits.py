"""Names of splits and classes, files by their names, and held-out pictures for data without splits."""

import codecs
import gzip
import hashlib
import unicodedata
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

Split = Literal["train", "val"]
HELD_OUT = 5
"""One picture in this many (of each class, if there are classes) is held out if a data set has no splits."""

SPLIT_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "train": ("train", "training", "train_set", "training_set"),
        "val": ("val", "valid", "validation", "val_set", "validation_set"),
        "test": ("test", "testing", "test_set"),
    }
)
"""Names of splits in folders, files and columns, in any case. A test split is used for nothing."""


def split_of(name: str) -> str | None:
    """``train``, ``val`` or ``test`` for any of its names, else None."""
    return next((split for split, names in SPLIT_NAMES.items() if name.casefold() in names), None)


def subfolder(folder: Path, names: Collection[str]) -> Path | None:
    """The folder below whose name, in any case, is one of ``names``; raise ValueError if there are several."""
    found = sorted(path for path in folder.glob("*") if path.name.casefold() in names and path.is_dir())
    if len(found) > 1:
        msg = f"{folder} has several of a kind: {', '.join(path.name for path in found)}; leave one of them"
        raise ValueError(msg)
    return found[0] if found else None


def class_name(text: str) -> str:
    """A name for comparison and output: composed, as macOS and others decompose accents (Unicode's NFD)."""
    return unicodedata.normalize("NFC", text)


def existing(folder: Path, name: str) -> Path:
    """The file that ``name`` refers to: as given, with Windows' separators, or with letters composed differently."""
    plain = folder / name
    if plain.exists():
        return plain
    names = (name.replace("\\", "/"), unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name))
    return next((path for name in names if (path := folder / name).exists()), plain)


def text_of(path: Path) -> str:
    """The text of a file, in UTF-8 or, with a byte order mark, UTF-16; ``.gz`` is unpacked.

    Raise ValueError, which names the file, for another encoding.
    """
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        msg = f"{path}: no text in UTF-8: {error}"
        raise ValueError(msg) from error


def held_out(names: Mapping[Path, str]) -> set[Path]:
    """A fifth of the pictures, at least one: those whose names in the data set have the smallest digests.

    The choice is arbitrary, and additional pictures change it little.
    """
    digests = {path: hashlib.sha256(class_name(name).encode()).digest() for path, name in names.items()}
    ordered = sorted(digests, key=lambda path: digests[path])
    return set(ordered[: max(1, len(ordered) // HELD_OUT)])


def is_held_out(name: str, one_of: int) -> bool:
    """True for one in ``one_of`` pictures, by its name in the data set, independently of other pictures."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) % one_of == 0


def name_in(root: Path, path: Path) -> str:
    """The name of a file in the data set at ``root``, wherever that is; the whole path for files elsewhere."""
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def split_apart(pictures: Collection[Path], root: Path, split: str) -> list[Path]:
    """The pictures of the split, for pictures without classes; their names are relative to ``root``."""
    held = held_out({path: name_in(root, path) for path in pictures})
    return [path for path in pictures if (path in held) == (split == "val")]
