"""An operator's serving config of a model: ``models/<name>/serving.json``, beside its versions.

``{"aliases": {"default": "3", "canary": "4"}, "unloaded": ["2"]}``. An alias is another name for a version; the alias
``default`` answers requests that name no version. Unloaded versions stay in the repository and are not served.
"""

import fcntl
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError, model_validator

from emo_serve.atomic import atomic_write
from emo_serve.engine.repository.artefacts import MAX_SERVING_CONFIG_BYTES, SERVING_CONFIG_FILE
from emo_serve.errors import Conflict, InvalidManifest
from emo_serve.files import read_regular
from emo_serve.manifest import VERSION_PATTERN

DEFAULT = "default"
"""The alias for requests that name no version; without it the highest version answers."""
ALIAS_PATTERN = r"^[a-z][a-z0-9_-]{0,15}$"  # not a number, so that it cannot hide a version

_MOST_FAULTS = 5  # that an error lists

Alias = Annotated[str, StringConstraints(pattern=ALIAS_PATTERN)]
VersionName = Annotated[str, StringConstraints(pattern=VERSION_PATTERN)]


class ServingConfig(BaseModel):
    """The content of ``serving.json``; empty without the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    aliases: Mapping[Alias, VersionName] = {}
    unloaded: frozenset[VersionName] = frozenset()

    def with_alias(self, alias: str, version: str) -> "ServingConfig":
        """A copy in which the alias names the version; raises Conflict if that is unloaded."""
        if version in self.unloaded:
            msg = f"Version {version} is unloaded; load it first."
            raise Conflict(msg)
        return ServingConfig(aliases={**self.aliases, alias: version}, unloaded=self.unloaded)

    def without_alias(self, alias: str) -> "ServingConfig":
        """A copy without the alias, which need not exist."""
        aliases = {other: version for other, version in self.aliases.items() if other != alias}
        return ServingConfig(aliases=aliases, unloaded=self.unloaded)

    def with_loaded(self, version: str) -> "ServingConfig":
        """A copy in which the version is served, if it is in the repository."""
        return ServingConfig(aliases=self.aliases, unloaded=self.unloaded - {version})

    def with_unloaded(self, version: str) -> "ServingConfig":
        """A copy in which the version is not served; raises Conflict if an alias names it."""
        aliases = sorted(alias for alias, other in self.aliases.items() if other == version)
        if aliases:
            msg = f"Version {version} is named by the alias {aliases[0]!r}; let that name another version first."
            raise Conflict(msg)
        return ServingConfig(aliases=self.aliases, unloaded=self.unloaded | {version})

    @model_validator(mode="after")
    def _aliases_are_served(self) -> Self:
        for alias, version in self.aliases.items():
            if version in self.unloaded:
                msg = f"version {version} is unloaded, and alias {alias!r} names it"
                raise ValueError(msg)
        return self


def parse_serving_config(path: Path, text: bytes) -> ServingConfig:
    """The config in the file; raises InvalidManifest, which names it."""
    try:
        return ServingConfig.model_validate_json(text)
    except ValidationError as error:
        faults = [fault["msg"] for fault in error.errors(include_url=False, include_input=False)]
        msg = f"{path}: {'; '.join(faults[:_MOST_FAULTS])}"
        raise InvalidManifest(msg) from error


def resolve_version(version: str | None, versions: Collection[str], aliases: Mapping[str, str]) -> str | None:
    """The one of the served ``versions`` that a number or an alias names; None if there is none.

    No ``version`` means the alias ``default``, which without an entry is the highest version.
    """
    wanted = version or DEFAULT
    if wanted == DEFAULT and DEFAULT not in aliases:
        return max(versions, key=int, default=None)
    found = aliases.get(wanted, wanted)
    return found if found in versions else None


def update_serving_config(folder: Path, change: Callable[[ServingConfig], ServingConfig]) -> None:
    """Replace the config of the model in ``folder`` by ``change`` of the current one, atomically.

    Raises Conflict if the repository cannot be written, or the current config cannot be read.
    """
    path = folder / SERVING_CONFIG_FILE
    try:
        with _locked(folder):
            text = read_regular(path, MAX_SERVING_CONFIG_BYTES) if path.exists() else b"{}"
            before = parse_serving_config(path, text)
            after = change(before)
            if after != before:
                atomic_write(path, _written(after))
    except InvalidManifest as error:
        msg = f"{folder.name}/{SERVING_CONFIG_FILE} cannot be changed, because it cannot be read: mend or remove it."
        raise Conflict(msg) from error
    except OSError as error:
        msg = f"{folder.name}/{SERVING_CONFIG_FILE} cannot be written: {error.strerror}."
        raise Conflict(msg) from error


def _written(config: ServingConfig) -> str:
    content = {"aliases": dict(sorted(config.aliases.items())), "unloaded": sorted(config.unloaded, key=int)}
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
