"""An operator's serving config of a model: ``models/<name>/serving.json``, beside its versions.

``{"aliases": {"default": "3", "canary": "4"}, "unloaded": ["2"]}``. An alias is another name for a version; the alias
``default`` answers requests that name no version. Unloaded versions stay in the repository and are not served. An alias
may be split between versions, and have a shadow (``emo_serve.engine.repository.traffic_config``).
"""

import fcntl
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Self, TypeVar

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError, model_validator

from emo_serve.atomic import atomic_write
from emo_serve.engine.repository.artefacts import MAX_SERVING_CONFIG_BYTES, SERVING_CONFIG_FILE
from emo_serve.engine.repository.traffic_config import Shadow, Split, VersionName
from emo_serve.errors import Conflict, InvalidManifest
from emo_serve.faults import described
from emo_serve.files import read_regular

DEFAULT = "default"
"""The alias for requests that name no version; without it the highest version answers."""
ALIAS_PATTERN = r"^[a-z][a-z0-9_-]{0,15}$"  # not a number, so that it cannot hide a version


Alias = Annotated[str, StringConstraints(pattern=ALIAS_PATTERN)]
T = TypeVar("T")


class ServingConfig(BaseModel):
    """The content of ``serving.json``; empty without the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    aliases: Mapping[Alias, VersionName] = {}
    unloaded: frozenset[VersionName] = frozenset()
    splits: Mapping[Alias, Split] = {}
    """Alias -> the versions that share its requests."""
    shadows: Mapping[Alias, Shadow] = {}
    """Alias -> the version that gets copies of its requests."""
    former: Mapping[Alias, VersionName] = {}
    """Alias -> its version before the last promotion."""

    def with_alias(self, alias: str, version: str) -> "ServingConfig":
        """A copy in which the alias names the version, which answers alone; raises Conflict if that is unloaded."""
        if version in self.unloaded:
            msg = f"Version {version} is unloaded; load it first."
            raise Conflict(msg)
        return self._replaced(aliases={**self.without_alias(alias).aliases, alias: version}, only=alias)

    def without_alias(self, alias: str) -> "ServingConfig":
        """A copy without the alias, which need not exist."""
        return self._replaced(aliases=_without(self.aliases, alias), only=alias)

    def with_loaded(self, version: str) -> "ServingConfig":
        """A copy in which the version is served, if it is in the repository."""
        return self.model_copy(update={"unloaded": self.unloaded - {version}})

    def with_unloaded(self, version: str) -> "ServingConfig":
        """A copy in which the version is not served; raises Conflict if an alias needs it."""
        if users := self.users(version):
            msg = f"Version {version} is named by {users[0]}; let that name another version first."
            raise Conflict(msg)
        return self.model_copy(update={"unloaded": self.unloaded | {version}})

    def users(self, version: str) -> list[str]:
        """What needs the version, in words: aliases, splits and shadows."""
        return [
            *(f"the alias {alias!r}" for alias, named in sorted(self.aliases.items()) if named == version),
            *(f"the split of the alias {alias!r}" for alias, split in self.splits.items() if version in split.shares),
            *(f"the shadow of the alias {alias!r}" for alias, own in self.shadows.items() if own.version == version),
        ]

    def with_traffic(self, alias: str, *, split: Split | None, shadow: Shadow | None) -> "ServingConfig":
        """A copy in which the alias, which names a version, has this split and shadow, or none.

        Raises Conflict where one of their versions is unloaded.
        """
        splits, shadows = _without(self.splits, alias), _without(self.shadows, alias)
        if split is not None:
            splits[alias] = split
        if shadow is not None:
            shadows[alias] = shadow
        after = self.model_copy(update={"splits": splits, "shadows": shadows})
        for version in sorted(self.unloaded, key=int):
            if after.users(version):
                msg = f"Version {version} is unloaded; load it first."
                raise Conflict(msg)
        return after

    def promoted(self, alias: str, version: str) -> "ServingConfig":
        """A copy in which the alias names the version that shared its requests, or was its shadow; it answers alone.

        The former version is remembered. Raises Conflict, which says what could be promoted.
        """
        split, shadow = self.splits.get(alias), self.shadows.get(alias)
        candidates = {*(split.shares if split else ()), *([shadow.version] if shadow else ())}
        candidates.discard(self.aliases.get(alias, ""))
        if version not in candidates:
            there_are = ", ".join(sorted(candidates, key=int)) or "none"
            msg = f"Version {version} neither has a share of {alias!r} nor is its shadow; candidates: {there_are}."
            raise Conflict(msg)
        after = self.with_alias(alias, version)
        return after.model_copy(update={"former": {**after.former, alias: self.aliases[alias]}})

    def demoted(self, alias: str) -> "ServingConfig":
        """A copy in which the alias names its former version, which answers alone; raises Conflict if it has none."""
        if alias not in self.former:
            msg = f"Nothing was promoted for the alias {alias!r}, or it was changed since then."
            raise Conflict(msg)
        return self.with_alias(alias, self.former[alias])

    def _replaced(self, aliases: Mapping[str, str], only: str) -> "ServingConfig":
        """A copy with these aliases, in which nothing else is said about the alias ``only``."""
        parts = {name: _without(getattr(self, name), only) for name in ("splits", "shadows", "former")}
        return self.model_copy(update={"aliases": aliases, **parts})

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        for version in sorted(self.unloaded, key=int):
            if users := self.users(version):
                msg = f"version {version} is unloaded, and {users[0]} names it"
                raise ValueError(msg)
        for alias in (*self.splits, *self.shadows):
            if alias not in self.aliases:
                what = "split" if alias in self.splits else "shadow"
                msg = f"there is a {what} of {alias!r}, which is no alias; give it a version among the aliases"
                raise ValueError(msg)
        for alias, split in self.splits.items():
            if (own := self.aliases[alias]) not in split.shares:
                msg = f"the split of {alias!r} leaves out its own version, {own}; give it a share, of 0 or more"
                raise ValueError(msg)
        for alias, shadow in self.shadows.items():
            if shadow.version == self.aliases[alias]:
                msg = f"the shadow of {alias!r} is its own version, {shadow.version}; name another"
                raise ValueError(msg)
        return self


def _without(entries: Mapping[str, T], key: str) -> dict[str, T]:
    return {other: value for other, value in entries.items() if other != key}


def parse_serving_config(path: Path, text: bytes) -> ServingConfig:
    """The config in the file; raises InvalidManifest, which names it."""
    try:
        return ServingConfig.model_validate_json(text)
    except ValidationError as error:
        msg = f"{path}: {described(error)}"
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


def read_serving_config(folder: Path) -> ServingConfig:
    """The config of the model in ``folder``; raises InvalidManifest, or OSError if it cannot be read."""
    path = folder / SERVING_CONFIG_FILE
    return parse_serving_config(path, read_regular(path, MAX_SERVING_CONFIG_BYTES) if path.exists() else b"{}")


def update_serving_config(
    folder: Path, change: Callable[[ServingConfig], ServingConfig]
) -> tuple[ServingConfig, ServingConfig]:
    """Replace the config of the model in ``folder`` by ``change`` of the current one, atomically; returns both.

    Raises Conflict if the repository cannot be written, or the current config cannot be read.
    """
    path = folder / SERVING_CONFIG_FILE
    try:
        with _locked(folder):
            before = read_serving_config(folder)
            after = change(before)
            if after != before:
                atomic_write(path, _written(after))
            return before, after
    except InvalidManifest as error:
        msg = f"{folder.name}/{SERVING_CONFIG_FILE} cannot be changed, because it cannot be read: mend or remove it."
        raise Conflict(msg) from error
    except OSError as error:
        msg = f"{folder.name}/{SERVING_CONFIG_FILE} cannot be written: {error.strerror}."
        raise Conflict(msg) from error


def _written(config: ServingConfig) -> str:
    content = {"aliases": dict(sorted(config.aliases.items())), "unloaded": sorted(config.unloaded, key=int)}
    parts = config.model_dump(include={"splits", "shadows", "former"}, exclude_defaults=True)
    return json.dumps(content | parts, indent=1) + "\n"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from changing the same file; the lock ends with the descriptor."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
