"""Where a batch job writes: a folder of files, or one of objects, in the same words. What is there is whole."""

import fcntl
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from emo_serve.atomic import atomic_write
from emo_serve.errors import StartupError
from emo_serve.offline.object_store import is_url, names_below, read_object, write_object

_LOCK_FILE = ".lock"
_MOST_TEXT_BYTES = 1024 * 1024
_MOST_BYTES = 1 << 40  # of an output file


@dataclass(frozen=True, slots=True)
class LocalFolder:
    """A folder of this machine, or one that all machines see."""

    folder: Path

    def address(self, name: str) -> str:
        """What the file of this name is called, for people."""
        return str(self.folder / name)

    def names(self) -> set[str]:
        """The files that are there, without hidden ones; the folder is made where there is none."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return {entry.name for entry in self.folder.iterdir() if not entry.name.startswith(".")}

    def read_text(self, name: str) -> str:
        """The content of a small file."""
        return (self.folder / name).read_text(encoding="utf-8")

    def read_bytes(self, name: str) -> bytes:
        """The content of a file."""
        return (self.folder / name).read_bytes()

    def write_text(self, name: str, text: str) -> None:
        """Write a small file, whole or not at all."""
        atomic_write(self.folder / name, text)

    def write_file(self, name: str, write: Callable[[Path], None]) -> None:
        """Let ``write`` fill a file, which appears whole or, with a StartupError, not at all."""
        partial = self.folder / f".{name}.{secrets.token_hex(4)}"  # processes of two machines may have one number
        try:
            write(partial)
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
            partial.replace(self.folder / name)
        except OSError as error:
            with suppress(OSError):
                partial.unlink()
            raise _not_written(self.address(name), error) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """A context in which no other process works here; raises StartupError if one does."""
        with (self.folder / _LOCK_FILE).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                msg = f"{self.folder}: another process is at work on this job"
                raise StartupError(msg) from error
            yield

    def remove_leftovers(self) -> None:
        """Remove what a killed process left half written."""
        for leftover in self.folder.glob(".part-*"):
            leftover.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class ObjectFolder:
    """A prefix of an object store, where an object appears whole or not at all; all methods raise StoreFault."""

    url: str

    def address(self, name: str) -> str:
        """The object's address."""
        return f"{self.url}/{name}"

    def names(self) -> set[str]:
        """The objects that are there, without hidden ones."""
        return {name for name in names_below(self.url) if not name.startswith(".")}

    def read_text(self, name: str) -> str:
        """The content of a small object."""
        return read_object(self.address(name), _MOST_TEXT_BYTES).decode()

    def read_bytes(self, name: str) -> bytes:
        """The content of an object."""
        return read_object(self.address(name), _MOST_BYTES)

    def write_text(self, name: str, text: str) -> None:
        """Write a small object."""
        write_object(self.address(name), text.encode())

    def write_file(self, name: str, write: Callable[[Path], None]) -> None:
        """Let ``write`` fill a file, which becomes an object; raises StartupError if that cannot be."""
        try:
            with tempfile.TemporaryDirectory(prefix="emo-serve-") as folder:
                path = Path(folder, name)
                write(path)
                write_object(self.address(name), path.read_bytes())
        except OSError as error:
            raise _not_written(self.address(name), error) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nothing can be locked: two that do the same job write the same objects."""
        yield

    def remove_leftovers(self) -> None:
        """Nothing is half written."""


Output = LocalFolder | ObjectFolder
"""Travels between processes and machines."""


def output_at(place: str) -> Output:
    """The folder of this path or address."""
    return ObjectFolder(place.rstrip("/")) if is_url(place) else LocalFolder(Path(place).absolute())


def _not_written(address: str, error: OSError) -> StartupError:
    return StartupError(f"{address}: cannot be written: {error.strerror or error}; run it again to go on")
