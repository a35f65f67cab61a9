"""What an operator has chosen for a model: ``models/<name>/serving.json``, beside its versions.

``{"aliases": {"default": "3", "canary": "4"}, "unloaded": ["2"]}``. An alias is another word for a version; the alias
``default`` answers where a request names no version. What is unloaded stays in the repository and is not served.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError, model_validator

from emo_serve.atomic import write_whole
from emo_serve.engine.repository.artefacts import CHOICES_FILE, MAX_CHOICES_BYTES
from emo_serve.errors import Conflict, InvalidManifest
from emo_serve.files import read_regular
from emo_serve.manifest import VERSION_PATTERN

DEFAULT = "default"
"""The alias that answers where no version is named; without it the highest version does."""
ALIAS_PATTERN = r"^[a-z][a-z0-9_-]{0,15}$"  # never a number, so that it cannot hide a version

_MOST_FAULTS = 5  # that are said

Alias = Annotated[str, StringConstraints(pattern=ALIAS_PATTERN)]
VersionName = Annotated[str, StringConstraints(pattern=VERSION_PATTERN)]


class Choices(BaseModel):
    """The content of ``serving.json``; without the file nothing is chosen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    aliases: Mapping[Alias, VersionName] = {}
    unloaded: frozenset[VersionName] = frozenset()

    def with_alias(self, alias: str, version: str) -> "Choices":
        """The same with the alias naming the version; raises Conflict where that is unloaded."""
        if version in self.unloaded:
            msg = f"Version {version} is unloaded; load it first."
            raise Conflict(msg)
        return Choices(aliases={**self.aliases, alias: version}, unloaded=self.unloaded)

    def without_alias(self, alias: str) -> "Choices":
        """The same without the alias, which need not be there."""
        aliases = {other: version for other, version in self.aliases.items() if other != alias}
        return Choices(aliases=aliases, unloaded=self.unloaded)

    def with_loaded(self, version: str) -> "Choices":
        """The same with the version served, if it lies in the repository."""
        return Choices(aliases=self.aliases, unloaded=self.unloaded - {version})

    def with_unloaded(self, version: str) -> "Choices":
        """The same with the version not served; raises Conflict where an alias names it."""
        aliases = sorted(alias for alias, other in self.aliases.items() if other == version)
        if aliases:
            msg = f"Version {version} is named by the alias {aliases[0]!r}; let that name another version first."
            raise Conflict(msg)
        return Choices(aliases=self.aliases, unloaded=self.unloaded | {version})

    @model_validator(mode="after")
    def _aliases_are_served(self) -> Self:
        for alias, version in self.aliases.items():
            if version in self.unloaded:
                msg = f"version {version} is unloaded, and alias {alias!r} names it"
                raise ValueError(msg)
        return self


def parse_choices(path: Path, text: bytes) -> Choices:
    """The choices in the file; raises InvalidManifest, which names it."""
    try:
        return Choices.model_validate_json(text)
    except ValidationError as error:
        faults = [fault["msg"] for fault in error.errors(include_url=False, include_input=False)]
        msg = f"{path}: {'; '.join(faults[:_MOST_FAULTS])}"
        raise InvalidManifest(msg) from error


def change_choices(folder: Path, change: Callable[[Choices], Choices]) -> None:
    """Write what ``change`` makes of the present choices of the model in ``folder``, whole or not at all.

    Raises Conflict where the repository cannot be written, or what is there cannot be read.
    """
    path = folder / CHOICES_FILE
    try:
        with _locked(folder):
            text = read_regular(path, MAX_CHOICES_BYTES) if path.exists() else b"{}"
            before = parse_choices(path, text)
            after = change(before)
            if after != before:
                write_whole(path, _written(after))
    except InvalidManifest as error:
        msg = f"{folder.name}/{CHOICES_FILE} cannot be changed, because it cannot be read: mend or remove it."
        raise Conflict(msg) from error
    except OSError as error:
        msg = f"{folder.name}/{CHOICES_FILE} cannot be written: {error.strerror}."
        raise Conflict(msg) from error


def _written(choices: Choices) -> str:
    content = {"aliases": dict(sorted(choices.aliases.items())), "unloaded": sorted(choices.unloaded, key=int)}
    return json.dumps(content, indent=1) + "\n"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from changing the same file; the lock ends with the descriptor."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
