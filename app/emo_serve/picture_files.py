"""Picture files in folders: suffixes, and which files count."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

FORMATS_OF_PHONES = frozenset({".heic", ".heif", ".hif", ".avif"})
"""Formats of phones that not every installation can read."""
PICTURES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".png", ".apng", ".webp", ".bmp", ".dib", ".gif"}
    | {".tif", ".tiff"}
    | FORMATS_OF_PHONES
)
"""Suffixes, in lower case."""


def is_picture(path: PurePath) -> bool:
    """True if the name has the suffix of a picture, whatever the content."""
    return path.suffix.lower() in PICTURES


def is_hidden(name: str) -> bool:
    """True for hidden files and metadata of file systems, such as those of macOS in archives."""
    return name.startswith(".") or name in {"__MACOSX", "@eaDir"}


def files_below(folder: Path, on_fault: Callable[[OSError], None] | None = None) -> Iterator[Path]:
    """All files that are not hidden, sub-folders included, in a fixed order; links are followed, each folder once.

    ``on_fault`` gets the error of each folder that cannot be looked into.
    """
    seen: set[tuple[int, int]] = set()
    for parent, folders, names in os.walk(folder, onerror=on_fault, followlinks=True):
        status = os.stat(parent)  # noqa: PTH116  # os.walk gives no Path
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        yield from (Path(parent, name) for name in sorted(names) if not is_hidden(name))


def pictures_below(folder: Path, on_fault: Callable[[OSError], None] | None = None) -> Iterator[Path]:
    """The pictures among ``files_below``."""
    return (path for path in files_below(folder, on_fault) if is_picture(path))
