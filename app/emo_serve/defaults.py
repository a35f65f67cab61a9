"""The default model of each task, which answers requests that name none: set by the repository, never by name order.

``models/defaults.json`` holds it: ``{"classify": "pets", "detect": "tools"}``. For a task without an entry it is the
model that comes with this package, otherwise the only one; with several others there is no default.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from emo_serve.atomic import atomic_write
from emo_serve.errors import InvalidManifest
from emo_serve.faults import described
from emo_serve.files import read_regular
from emo_serve.manifest import MANIFEST_FILE, NAME_PATTERN, Task, read_manifest

DEFAULTS_FILE = "defaults.json"
"""In the root of the repository."""
SHIPPED: Mapping[Task, str] = MappingProxyType({"classify": "emo-1m", "detect": "ssdlite-emo-1m"})
_MOST_BYTES = 64 * 1024

_Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]


class Defaults(BaseModel):
    """The content of ``defaults.json``; empty without the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classify: _Name | None = None
    detect: _Name | None = None
    segment: _Name | None = None

    def named(self, task: Task) -> str | None:
        """The model named for the task."""
        return {"classify": self.classify, "detect": self.detect, "segment": self.segment}[task]


def read_defaults_file(root: Path) -> bytes | None:
    """Content of this repository's file, None if there is none; raises OSError if it cannot be read."""
    try:
        return read_regular(root / DEFAULTS_FILE, _MOST_BYTES)
    except FileNotFoundError:
        return None


def parse_defaults(path: Path, text: bytes | None) -> Defaults:
    """The defaults in the file; raises InvalidManifest, which names it."""
    if text is None:
        return Defaults()
    try:
        return Defaults.model_validate_json(text)
    except ValidationError as error:
        msg = f'{path}: {described(error)}; allowed is a model for each task, as in {{"classify": "name"}}'
        raise InvalidManifest(msg) from error


def choose_default(task: Task, names: Collection[str], configured: Defaults) -> str | None:
    """The default among all models for the task: the configured one, else the shipped one, else the only one.

    The configured one counts even if it is not among ``names``. None if several models remain, or none.
    """
    if (named := configured.named(task)) is not None:
        return named
    if (shipped := SHIPPED.get(task)) in names:
        return shipped
    return next(iter(names)) if len(names) == 1 else None


def how_to_choose(task: Task, name: str) -> str:
    """Instructions to make this model the default."""
    return f"{json.dumps({task: name})} in {DEFAULTS_FILE} of the repository makes it {name}"


def keep_default(root: Path, task: Task, added: str) -> str:
    """Make sure that adding the model ``added`` changes no default; returns a sentence about the default.

    A model that was the default because it was the only one is written down, and so is the first model for its task.
    """
    try:
        default, several = _write_default(root, task, added)
    except (OSError, InvalidManifest) as error:
        return f"default for {task}: not known, as {root / DEFAULTS_FILE} cannot be read or written: {error}"
    if default == added:
        return f"default for {task}: {added}, which answers where a request names no model"
    if default is not None:
        return f"default for {task}: {default}, as before; {how_to_choose(task, added)}"
    names = ", ".join(several)
    return f"default for {task}: none, as there are several ({names}); {how_to_choose(task, added)}"


def _write_default(root: Path, task: Task, added: str) -> tuple[str | None, list[str]]:
    """The default, written down if it followed from the number of models; and the names of all models for the task."""
    configured = parse_defaults(root / DEFAULTS_FILE, read_defaults_file(root))
    named = configured.named(task)
    if named is not None and (root / named).is_dir():
        return named, []
    configured = configured.model_copy(update={task: None})  # the model was removed
    names = _names(root, task)
    is_new = len([folder for folder in (root / added).iterdir() if not folder.name.startswith(".")]) == 1
    before = names - {added} if is_new else names
    default = choose_default(task, before or {added}, configured)
    if default is not None and default != SHIPPED.get(task):
        _write(root, configured.model_copy(update={task: default}))
    return default, sorted(names)


def _names(root: Path, task: Task) -> set[str]:
    """The models for the task whose manifests are valid."""
    names = set()
    for path in sorted(root.glob(f"[!.]*/[!.]*/{MANIFEST_FILE}")):
        try:
            if read_manifest(path).task == task:
                names.add(path.parent.parent.name)
        except InvalidManifest:
            continue
    return names


def _write(root: Path, defaults: Defaults) -> None:
    atomic_write(root / DEFAULTS_FILE, json.dumps(defaults.model_dump(exclude_none=True)) + "\n")
