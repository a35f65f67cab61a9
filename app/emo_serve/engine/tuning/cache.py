"""Measurements that are remembered from one start to the next: a small JSON file for each model, machine and goal."""

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from emo_serve.atomic import write_whole
from emo_serve.engine.host.cpus import Machine
from emo_serve.engine.tuning.search import Space, Tuning

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """All that a measurement depends on; where one thing differs it counts for nothing."""

    model_sha256: str
    runtime: str
    machine: Machine
    space: Space

    @property
    def file_name(self) -> str:
        """A name of their own."""
        return f"tuning-{hashlib.sha256(TypeAdapter(Circumstances).dump_json(self)).hexdigest()[:16]}.json"


class _Entry(BaseModel):
    """A file of the cache."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[2] = 2  # of what is remembered and of how it was found: 1 was more easily disturbed
    circumstances: Circumstances
    tuning: Tuning


class TuningCache:
    """A folder of measurements; it never fails, at worst it remembers nothing."""

    def __init__(self, folder: Path | None) -> None:
        """Use the folder, which is made when something is stored; None: where the user's caches are."""
        self._folder = cache_folder(folder)
        self._has_complained = False

    def load(self, circumstances: Circumstances) -> Tuning | None:
        """What was measured under these circumstances, if it can be read."""
        if self._folder is None:
            return None
        path = self._folder / circumstances.file_name
        try:
            entry = _Entry.model_validate_json(path.read_bytes())
        except OSError:
            return None  # usually there is none yet; where the folder is at fault, storing will say so
        except ValidationError as error:
            logger.warning(
                "a remembered measurement cannot be read and is ignored",
                extra={"path": str(path), "reason": error.errors()[0]["msg"]},
            )
            return None
        return entry.tuning if entry.circumstances == circumstances else None

    def store(self, circumstances: Circumstances, tuning: Tuning) -> None:
        """Remember it; where that cannot be done, say so once."""
        if self._folder is None:
            self._complain("there is no home directory")
            return
        path = self._folder / circumstances.file_name
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, _Entry(circumstances=circumstances, tuning=tuning).model_dump_json())
        except OSError as error:
            self._complain(str(error))

    def _complain(self, reason: str) -> None:
        if not self._has_complained:
            logger.warning("measurements cannot be remembered, every start repeats them", extra={"reason": reason})
        self._has_complained = True


def cache_folder(configured: Path | None) -> Path | None:
    """What is configured, else as the XDG base directory specification has it; None where there is no home."""
    if configured is not None:
        return configured
    caches = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not caches.is_absolute():
        try:
            caches = Path.home() / ".cache"
        except RuntimeError:
            return None
    return caches / "emo-serve"
