"""The file of API keys: a line ``NAME:DIGEST`` for each. It holds digests, so whoever reads it learns no key.

They are plain SHA-256: a key is random and long, so there is nothing to guess that a slow hash would protect.
"""

import hashlib
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from emo_serve.errors import StartupError
from emo_serve.files import read_regular

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LINE = re.compile(rf"({NAME.pattern}):([0-9a-f]{{64}})")
_MOST_BYTES = 16 * 1024 * 1024
_LOOK_SECONDS = 1.0

logger = logging.getLogger(__name__)

_Stamp = tuple[int, int, int]


def read_keys(path: Path) -> dict[str, bytes]:
    """Name -> SHA-256 of its key, from lines ``name:digest``; blank lines and those that begin with ``#`` are left out.

    Raises StartupError, which names the file and the line but repeats nothing of it.
    """
    keys = _parse(path, _read(path))
    if not keys:
        msg = f"{path}: holds no API key"
        raise StartupError(msg)
    return keys


class KeysFile:
    """The keys in a file, as it is now: looked at again no more than once a second.

    A file that cannot be read any more changes nothing; the log says what is wrong with it.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Raise StartupError where it cannot be read now."""
        self._path = path
        self._clock = clock
        self._looked = clock()
        self._stamp = _stamp(path)
        self._keys = read_keys(path)

    def __call__(self) -> Mapping[str, bytes]:
        """Name -> SHA-256 of its key."""
        now = self._clock()
        if now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            if (stamp := _stamp(self._path)) != self._stamp:
                self._stamp = stamp
                self._read_again()
        return self._keys

    def _read_again(self) -> None:
        try:
            keys = read_keys(self._path)
        except StartupError as error:
            logger.error("the API keys stay as they were", extra={"reason": str(error)})  # noqa: TRY400  it says all
            return
        added, removed = sorted(keys.keys() - self._keys.keys()), sorted(self._keys.keys() - keys.keys())
        logger.info("the API keys were read again", extra={"keys": len(keys), "added": added, "removed": removed})
        self._keys = keys


def new_key(name: str, path: Path | None) -> tuple[str, str]:
    """A new key for the name, and the line that lets it in, which is put at the end of the file where there is one.

    Raises StartupError for a name that cannot be one or has a key, and where the file cannot be read or written.
    """
    if not NAME.fullmatch(name):
        msg = f"{name!r} cannot be the name of a key: allowed are 1 to 64 letters, digits, '.', '_' and '-'"
        raise StartupError(msg)
    key = secrets.token_urlsafe(32)
    line = f"{name}:{hashlib.sha256(key.encode()).hexdigest()}"
    if path is not None:
        _append(path, name, line)
    return key, line


def _append(path: Path, name: str, line: str) -> None:
    text = _read(path) if path.exists() else ""
    if name in _parse(path, text):
        msg = f"{path}: {name} has a key already; choose another name, or remove its line first"
        raise StartupError(msg)
    start = "" if not text or text.endswith("\n") else "\n"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123  it is a descriptor
            file.write(f"{start}{line}\n")  # in one piece, for a server that reads just now
    except OSError as error:
        msg = f"{path}: the key cannot be added: {error.strerror}"
        raise StartupError(msg) from error


def _read(path: Path) -> str:
    try:
        return read_regular(path, _MOST_BYTES).decode("utf-8-sig")  # editors on Windows write a BOM
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path}: the API keys cannot be read: {error.strerror if isinstance(error, OSError) else 'not UTF-8'}"
        raise StartupError(msg) from None


def _parse(path: Path, text: str) -> dict[str, bytes]:
    keys: dict[str, bytes] = {}
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None or match[1] in keys or bytes.fromhex(match[2]) in keys.values():
            msg = f"{path}, line {number}: not NAME:DIGEST with the key's SHA-256 in 64 hex digits, each of them once"
            raise StartupError(msg)
        keys[match[1]] = bytes.fromhex(match[2])
    return keys


def _stamp(path: Path) -> _Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
