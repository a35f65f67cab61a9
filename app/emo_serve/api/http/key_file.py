"""The file of API keys: one line ``NAME:DIGEST`` for each. It holds digests, so reading it reveals no key.

The digests are plain SHA-256: keys are long and random, so a slow hash would protect nothing more.
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
_CHECK_SECONDS = 1.0

logger = logging.getLogger(__name__)

_Fingerprint = tuple[int, int, int]


def read_keys(path: Path) -> dict[str, bytes]:
    """Name -> SHA-256 of its key, from lines ``name:digest``; blank lines and lines that begin with ``#`` are skipped.

    Raises StartupError, which names the file and the line but repeats no more of its content than a name.
    """
    keys = _parse(path, _read(path))
    if not keys:
        msg = f"{path}: holds no API key"
        raise StartupError(msg)
    return keys


class KeyFile:
    """The current keys of a file, which is checked for changes at most once a second.

    If it cannot be read any more, the last keys stay valid and the reason is logged.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Raise StartupError if the file cannot be read."""
        self._path = path
        self._clock = clock
        self._checked = clock()
        self._fingerprint = _fingerprint(path)
        self._keys = read_keys(path)

    def __call__(self) -> Mapping[str, bytes]:
        """Name -> SHA-256 of its key."""
        now = self._clock()
        if now - self._checked >= _CHECK_SECONDS:
            self._checked = now
            if (fingerprint := _fingerprint(self._path)) != self._fingerprint:
                self._fingerprint = fingerprint
                self._read_again()
        return self._keys

    def _read_again(self) -> None:
        try:
            keys = read_keys(self._path)
        except StartupError as error:
            logger.error("the API keys stay as they were", extra={"reason": str(error)})  # noqa: TRY400  the message says it all
            return
        added, removed = sorted(keys.keys() - self._keys.keys()), sorted(self._keys.keys() - keys.keys())
        logger.info("the API keys were read again", extra={"keys": len(keys), "added": added, "removed": removed})
        self._keys = keys


def new_key(name: str, path: Path | None) -> tuple[str, str]:
    """A new key for the name, and its line for the file, which is appended to ``path`` unless that is None.

    Raises StartupError for a name that is invalid or has a key, and if the file cannot be read or written.
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
        with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123  opens a descriptor
            file.write(f"{start}{line}\n")  # in one write, as a server may be reading it
    except OSError as error:
        msg = f"{path}: the key cannot be added: {error.strerror}"
        raise StartupError(msg) from error


def _read(path: Path) -> str:
    try:
        return read_regular(path, _MOST_BYTES).decode("utf-8-sig")  # Windows editors write a BOM
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path}: the API keys cannot be read: {error.strerror if isinstance(error, OSError) else 'not UTF-8'}"
        raise StartupError(msg) from None


def _parse(path: Path, text: str) -> dict[str, bytes]:
    keys: dict[str, bytes] = {}
    names: dict[bytes, str] = {}
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            msg = f"{path}, line {number}: not NAME:DIGEST with the key's SHA-256 in 64 hex digits"
            raise StartupError(msg)
        name, digest = match[1], bytes.fromhex(match[2])
        if name in keys:
            msg = f"{path}, line {number}: {name} has a key in a line above; a name has one key"
            raise StartupError(msg)
        if digest in names:
            msg = f"{path}, line {number}: {name} has the key of {names[digest]}; a key has one name"
            raise StartupError(msg)
        keys[name] = digest
        names[digest] = name
    return keys


def _fingerprint(path: Path) -> _Fingerprint | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
