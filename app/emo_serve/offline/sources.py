"""Arguments of a command line -> the pictures that they name, in a fixed order."""

import errno
import glob
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from emo_serve.errors import ServiceError
from emo_serve.files import open_regular, read_regular
from emo_serve.offline.object_store import find_objects, is_url, read_object, require_packages, scheme_of
from emo_serve.offline.video import VIDEOS, frames
from emo_serve.picture_files import pictures_below

STANDARD_INPUT = "-"
Answer = dict[str, Any]
"""The members of a server's answer."""
_MOST_LIST_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """One picture: its name in the output, and where its bytes are: in a file or object, here, or on standard input."""

    name: str
    path: Path | None = None
    data: bytes | None = None
    stem: str = "stdin"
    """Of files that are written about it."""
    is_video: bool = False
    """True if ``with_frames`` puts its frames in its place."""
    fault: OSError | None = None
    """Why there are no bytes, of a folder that cannot be looked into."""
    url: str | None = None
    """Of an object in an object store."""

    @classmethod
    def of(cls, path: Path, name: str | None = None) -> "Source":
        """The picture in a file, by default named by its path."""
        return cls(as_text(name or path), path, stem=path.stem)

    @classmethod
    def at(cls, url: str, name: str | None = None) -> "Source":
        """The picture in an object, by default named by its address."""
        return cls(as_text(name or url), stem=PurePosixPath(url).stem, url=url)

    def read(self, most: int) -> bytes:
        """The encoded picture; of a larger one ``most`` bytes and one more.

        Raises OSError if it cannot be read, or StoreFault if nothing can be read where it is.
        """
        if self.fault is not None:
            raise self.fault
        if self.data is not None:
            return self.data
        if self.url is not None:
            return read_object(self.url, most)
        if self.path is None:
            return sys.stdin.buffer.read(most + 1)
        with open_regular(self.path) as file:
            return file.read(most + 1)

    def fetched(self, most: int) -> "Source":
        """The same with its bytes at hand, or with why there are none."""
        try:
            return replace(self, data=self.read(most))
        except OSError as error:
            return replace(self, fault=error)


def as_text(path: str | Path) -> str:
    r"""The path as output has it: bytes of a name that are not UTF-8 become ``\xff``, which JSON can hold."""
    return os.fsencode(path).decode(errors="backslashreplace")


def ask_about(source: Source, most: int, ask: Callable[[bytes], dict[str, Any]]) -> tuple[dict[str, Any], str | None]:
    """The answer of ``ask`` about the picture, or an empty one and why there is none; ``most`` as for ``read``."""
    try:
        return ask(source.read(most)), None
    except ServiceError as error:
        return {}, str(error)
    except OSError as error:
        return {}, as_text(f"cannot be read: {error.strerror or error}")  # a store's has the address in it


def find_sources(arguments: Sequence[str], *, left_out: Path | None = None) -> Iterator[Source]:
    """The pictures of files, whole folders, quoted patterns, ``.txt`` lists and ``-``, and the videos that are named.

    Addresses of an object store name the same as paths do, save for videos. Folders are sorted, hidden files and the
    folder ``left_out`` left out, and other files in them passed over. A list has a path or an address a line, paths
    relative to its own folder. Raises FileNotFoundError at once, which names the argument, for what is not there or
    holds no picture, StartupError for stores that cannot be reached and packages that are missing (also for addresses
    in a list), and OSError or ValueError for lists that cannot be read.
    """
    return chain.from_iterable([_sources(argument, left_out) for argument in arguments])


def with_frames(sources: Iterable[Source]) -> Iterator[Source]:
    """The pictures, and each frame of the videos; raises OSError or ValueError for a video that cannot be read."""
    for source in sources:
        if source.path is not None and source.is_video:
            for number, frame in enumerate(frames(source.path)):
                yield Source(f"{source.name}#{number}", data=frame, stem=f"{source.stem}-{number}")
        else:
            yield source


def _sources(argument: str, left_out: Path | None) -> Iterable[Source]:
    if is_url(argument):
        return _objects(argument)
    path = Path(argument)
    if argument == STANDARD_INPUT:
        return [Source(argument)]
    if argument and path.is_dir():
        return _at_least_one(argument, _below(path, left_out))
    if path.suffix.lower() == ".txt" and path.is_file():
        return _at_least_one(argument, _listed(path))
    if argument and path.exists():
        return [Source(as_text(path), path, stem=path.stem, is_video=path.suffix.lower() in VIDEOS)]
    if found := sorted(glob.glob(argument, recursive=True)):  # noqa: PTH207  # absolute patterns too
        return _at_least_one(argument, (Source.of(Path(name)) for name in found if Path(name).is_file()))
    msg = f"{argument or repr(argument)}: there is no such file or folder, and no file matches it"
    raise FileNotFoundError(msg)


def _at_least_one(argument: str, sources: Iterator[Source]) -> Iterator[Source]:
    first = next(sources, None)
    if first is None:
        msg = f"{argument}: there is no picture in it"
        raise FileNotFoundError(msg)
    return chain([first], sources)


def _below(folder: Path, left_out: Path | None) -> Iterator[Source]:
    """The pictures in a folder, and then the folders in it that cannot be looked into."""
    faults: list[OSError] = []
    hidden = left_out.resolve() if left_out else None
    if hidden and folder.resolve() not in hidden.parents:
        hidden = None
    for path in pictures_below(folder, faults.append):
        if hidden is None or not path.parent.resolve().is_relative_to(hidden):
            yield Source.of(path)
    for fault in faults:
        yield Source(as_text(fault.filename), fault=fault)


def _objects(url: str) -> Iterable[Source]:
    """What an address names: a list of pictures, or pictures."""
    if not url.lower().endswith(".txt"):
        return map(Source.at, find_objects(url))
    folder = url.rpartition("/")[0]
    lines = _lines(url, read_object(url, _MOST_LIST_BYTES))
    return _at_least_one(url, (Source.at(line if is_url(line) else f"{folder}/{line}", line) for line in lines))


def _listed(path: Path) -> Iterator[Source]:
    for line in _lines(str(path), read_regular(path, _MOST_LIST_BYTES)):
        if "\0" in line:
            yield Source(line, fault=OSError(errno.EINVAL, "no name of a file has a null byte"))
        else:
            yield Source.at(line) if is_url(line) else Source.of(path.parent / line, line)


def _lines(name: str, content: bytes) -> Iterator[str]:
    """The paths or addresses of a list; raises ValueError, or StartupError where a package is missing for one."""
    if len(content) > _MOST_LIST_BYTES:
        msg = f"{name}: a list of pictures may have {_MOST_LIST_BYTES} bytes; give several"
        raise ValueError(msg)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        msg = f"{name}: a list of pictures has to be UTF-8, a path a line"
        raise ValueError(msg) from error
    lines = text.split("\n")
    kinds: set[str] = set()
    for line in map(str.strip, lines):
        if is_url(line) and (kind := scheme_of(line)) not in kinds:
            require_packages(line)
            kinds.add(kind)
    return (line.strip() for line in lines if line.strip())
