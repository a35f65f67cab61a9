"""One-line summary of the files of a data set that are used neither for training nor for validation."""

from collections import Counter
from collections.abc import Iterable
from os.path import normpath
from pathlib import Path

from emo.data.pictures import unreadable_kinds
from emo_serve.picture_files import files_below, is_hidden, is_picture

_NAMED = 8  # folders


def passed_over(root: Path, taken: Iterable[Path], pictures: str) -> str:
    """``3 .txt, 2 .mov, folder test/ (120 pictures)``: everything below ``root`` but ``taken``; may be empty.

    ``pictures`` is the reason why other pictures beside the taken ones are not used.
    """
    used = {Path(normpath(path)) for path in taken}
    entered = {parent for path in used for parent in path.parents}
    left: list[Path] = []
    folders: list[str] = []
    waiting = [Path(normpath(root))]
    while waiting:
        for path in sorted(waiting.pop().iterdir(), reverse=True):
            if is_hidden(path.name):
                continue
            if not path.is_dir():
                left += [path] * (path not in used)
            elif path in entered:
                waiting.append(path)
            else:
                folders += _folder(path, Path(normpath(root)))
    named = sorted(folders)[:_NAMED]
    more = [f"{len(folders) - _NAMED} more folders"] if len(folders) > _NAMED else []
    return ", ".join([*counted(left, pictures), *named, *more])


def counted(paths: list[Path], pictures: str = "") -> list[str]:
    """``3 .txt``, for each kind of file; for pictures with a reason, which is ``pictures`` for readable ones."""
    reasons = unreadable_kinds(sorted(paths))
    kinds = Counter(
        (path.suffix.lower() or path.name, reasons.get(path.suffix.lower()) or (pictures if is_picture(path) else ""))
        for path in paths
    )
    return [f"{count} {kind}" + (f" ({reason})" if reason else "") for (kind, reason), count in sorted(kinds.items())]


def _folder(folder: Path, root: Path) -> list[str]:
    files = list(files_below(folder))
    if not files:
        return []
    shown = sum(map(is_picture, files))
    what = f"{shown} pictures" if shown else f"{len(files)} files"
    return [f"folder {folder.relative_to(root).as_posix()}/ ({what})"]
