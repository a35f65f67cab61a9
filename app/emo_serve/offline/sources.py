"""Arguments of a command line -> the pictures that they name, in a fixed order."""

import glob
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emo_serve.errors import ServiceError
from emo_serve.files import read_regular
from emo_serve.offline.video import VIDEOS, frames
from emo_serve.picture_files import pictures_below

STANDARD_INPUT = "-"
Answer = dict[str, Any]
"""The members of a server's answer."""
_MOST_LIST_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """One picture: its name in the output, and where its bytes are."""

    name: str
    path: Path | None = None
    data: bytes | None = None
    stem: str = "stdin"
    """Of files that are written about it."""

    @classmethod
    def of(cls, path: Path, name: str | None = None) -> "Source":
        """The picture in a file, by default named by its path."""
        return cls(name or str(path), path, stem=path.stem)

    def read(self, most: int | None = None) -> bytes:
        """The encoded picture; of a larger file ``most`` bytes and one more. Raises OSError if it cannot be read."""
        if self.path is None:
            return self.data or b""
        with self.path.open("rb") as file:
            return file.read() if most is None else file.read(most + 1)


def ask_about(
    source: Source, most: int | None, ask: Callable[[bytes], dict[str, Any]]
) -> tuple[dict[str, Any], str | None]:
    """The answer of ``ask`` about the picture, or an empty one and why there is none; ``most`` as for ``read``."""
    try:
        return ask(source.read(most)), None
    except ServiceError as error:
        return {}, str(error)
    except OSError as error:
        return {}, f"cannot be read: {error.strerror or error}"


def find_sources(arguments: Sequence[str], *, videos: bool = True) -> Iterator[Source]:
    """The pictures of files, whole folders, quoted patterns, ``.txt`` lists, ``-`` and, frame by frame, videos.

    Folders are sorted, hidden files left out, and other files in them passed over. A list has a path a line, relative
    to its own folder. Raises FileNotFoundError, which names the argument, for what is not there, and OSError or
    ValueError for lists and videos that cannot be read.
    """
    for argument in arguments:
        path = Path(argument)
        if argument == STANDARD_INPUT:
            yield Source(argument, data=sys.stdin.buffer.read())
        elif path.is_dir():
            yield from (Source.of(found) for found in pictures_below(path))
        elif path.suffix.lower() == ".txt" and path.is_file():
            yield from _listed(path)
        elif path.exists():
            yield from _file(path, videos=videos)
        elif found := sorted(glob.glob(argument, recursive=True)):  # noqa: PTH207  # absolute patterns too
            yield from (Source.of(Path(name)) for name in found if Path(name).is_file())
        else:
            msg = f"{argument}: there is no such file or folder, and no file matches it"
            raise FileNotFoundError(msg)


def _listed(path: Path) -> Iterator[Source]:
    try:
        lines = read_regular(path, _MOST_LIST_BYTES).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        msg = f"{path}: a list of pictures has to be UTF-8, a path a line"
        raise ValueError(msg) from error
    for line in lines:
        if line.strip():
            yield Source.of(path.parent / line.strip(), line.strip())


def _file(path: Path, *, videos: bool) -> Iterator[Source]:
    if videos and path.suffix.lower() in VIDEOS:
        for number, frame in enumerate(frames(path)):
            yield Source(f"{path}#{number}", data=frame, stem=f"{path.stem}-{number}")
    else:
        yield Source.of(path)
