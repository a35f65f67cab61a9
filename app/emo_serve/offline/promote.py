"""``emo-serve promote``: lets a version that shares an alias's requests, or is its shadow, answer all of them."""

import argparse
import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from emo_serve.engine.repository.artefacts import read_artefact
from emo_serve.engine.repository.serving_config import (
    ALIAS_PATTERN,
    ServingConfig,
    read_serving_config,
    update_serving_config,
)
from emo_serve.errors import Conflict, StartupError
from emo_serve.manifest import VERSION_PATTERN, known_as
from emo_serve.process.exit_codes import EXIT_OK
from emo_serve.settings import Settings


def promote(options: argparse.Namespace, settings: Settings) -> int:
    """Change the serving config, or with ``--dry-run`` say how it would change; raises StartupError.

    The version that is to answer is read and checked before, as a server would.
    """
    folder = _folder_of(settings.models, options.name)
    _check(options.alias, ALIAS_PATTERN, "an alias is a small letter and up to 15 small letters, digits, '_' and '-'")
    if options.back:
        change = partial(ServingConfig.demoted, alias=options.alias)
    else:
        _check(options.version, VERSION_PATTERN, "a version is a whole number")
        change = partial(ServingConfig.promoted, alias=options.alias, version=options.version)
    try:
        before = read_serving_config(folder)
        after = change(before)
        read_artefact(folder / after.aliases[options.alias], settings.require_signature)
        if not options.dry_run:
            before, after = update_serving_config(folder, change)
    except Conflict as error:
        msg = f"{folder.name}: {error}"
        raise StartupError(msg) from error
    sys.stdout.writelines(f"{line}\n" for line in _said(folder.name, options.alias, before, after))
    sys.stdout.write(_DRY if options.dry_run else _DONE)
    return EXIT_OK


_DRY = "Nothing was written: this was a dry run.\n"
_DONE = "A server that watches the repository (EMO_WATCH_SECONDS) follows by itself, another after POST /rescan.\n"


def _folder_of(models: Path, name: str) -> Path:
    try:
        names = {path.name for path in models.iterdir() if path.is_dir() and not path.name.startswith(".")}
    except OSError as error:
        msg = f"{models}: cannot be listed: {error.strerror}"
        raise StartupError(msg) from error
    known = known_as(name, names)
    if known not in names:
        msg = f"{models} has no model {name!r}; there are: {', '.join(sorted(names)) or 'none'}"
        raise StartupError(msg)
    return models / known


def _check(given: str, pattern: str, allowed: str) -> None:
    if not re.fullmatch(pattern, given):
        msg = f"{given!r}: {allowed}"
        raise StartupError(msg)


def _said(name: str, alias: str, before: ServingConfig, after: ServingConfig) -> Iterator[str]:
    yield f"{name}: {alias!r} names version {after.aliases[alias]}, before {before.aliases.get(alias, 'none')}"
    if alias in before.splits:
        shares = ", ".join(f"{version} with {share:g}" for version, share in before.splits[alias].shares.items())
        yield f"its split ends: {shares}"
    if alias in before.shadows:
        yield f"its shadow ends: {before.shadows[alias].version}"
    if alias in after.former:
        option = "" if alias == "default" else f" --alias {alias}"
        yield f"to undo it: emo-serve promote --back {name}{option}"
