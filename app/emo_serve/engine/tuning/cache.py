"""Cache of measurements between starts: a small JSON file for each model, machine and goal."""

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from emo_serve.atomic import atomic_write
from emo_serve.engine.host import Machine
from emo_serve.engine.tuning.search import SearchSpace, Tuning
from emo_serve.faults import described

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CacheKey:
    """Everything that a measurement depends on; it is valid only if all of it is equal."""

    model_sha256: str
    runtime: str
    machine: Machine
    space: SearchSpace

    @property
    def file_name(self) -> str:
        """File name of this key."""
        return f"tuning-{hashlib.sha256(TypeAdapter(CacheKey).dump_json(self)).hexdigest()[:16]}.json"


class _Entry(BaseModel):
    """Content of a file of the cache."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[2] = 2  # of the format and of the method: 1 was more easily disturbed
    key: CacheKey
    tuning: Tuning


class TuningCache:
    """A folder of measurements; it never fails, at worst it remembers nothing."""

    def __init__(self, folder: Path | None) -> None:
        """Use the folder, which is created when needed; None: use the user's cache folder."""
        self._folder = cache_folder(folder)
        self._has_complained = False

    def load(self, key: CacheKey) -> Tuning | None:
        """The measurement for this key, None if there is none or it cannot be read."""
        if self._folder is None:
            return None
        path = self._folder / key.file_name
        try:
            entry = _Entry.model_validate_json(path.read_bytes())
        except OSError:
            return None  # usually there is none yet; ``store`` reports an unusable folder
        except ValidationError as error:
            logger.warning(
                "a remembered measurement cannot be read and is ignored",
                extra={"path": str(path), "reason": described(error)},
            )
            return None
        return entry.tuning if entry.key == key else None

    def store(self, key: CacheKey, tuning: Tuning) -> None:
        """Remember a measurement; if that fails, log it once."""
        if self._folder is None:
            self._complain("there is no home directory")
            return
        path = self._folder / key.file_name
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            atomic_write(path, _Entry(key=key, tuning=tuning).model_dump_json())
        except OSError as error:
            self._complain(str(error))

    def _complain(self, reason: str) -> None:
        if not self._has_complained:
            logger.warning("measurements cannot be remembered, every start repeats them", extra={"reason": reason})
        self._has_complained = True


def cache_folder(configured: Path | None) -> Path | None:
    """The configured folder, else by the XDG base directory specification; None if there is no home."""
    if configured is not None:
        return configured
    caches = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not caches.is_absolute():
        try:
            caches = Path.home() / ".cache"
        except RuntimeError:
            return None
    return caches / "emo-serve"
