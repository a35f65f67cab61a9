"""``emo-serve models``: what is in the repository."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from emo_serve.engine.repository.artefacts import Artefact, scan
from emo_serve.errors import StartupError
from emo_serve.manifest import TASKS, Task
from emo_serve.offline.predictor import find_artefact, find_folder
from emo_serve.process.exit_codes import EXIT_OK, EXIT_STARTUP
from emo_serve.settings import Settings

_SHOWN_LABELS = 12


def list_models(options: argparse.Namespace, settings: Settings) -> int:
    """List every version, or show one; the exit code is 1 if there is none, or one is broken."""
    if options.name:
        artefact = find_artefact(settings, None, options.name)
        text = artefact.manifest.model_dump_json(indent=2) if options.json else "\n".join(_described(artefact))
        sys.stdout.write(text + "\n")
        return EXIT_OK
    found = scan(settings.models, settings.require_signature)
    defaults = {_default(settings, task) for task in TASKS}
    if options.json:
        entries = [_entry(artefact, defaults) for artefact in found.artefacts]
        sys.stdout.write(json.dumps(entries, indent=2) + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in _table(found.artefacts, defaults))
    for error in found.failures.values():
        sys.stderr.write(f"emo-serve: {error}\n")
    return EXIT_OK if found.artefacts and not found.failures else EXIT_STARTUP


def _id_of(artefact: Artefact) -> str:
    """``name@version``."""
    return f"{artefact.manifest.name}@{artefact.manifest.version}"


def _default(settings: Settings, task: Task) -> Path | None:
    """The version folder of the task's default, if it has one."""
    try:
        return find_folder(settings, task, None)
    except StartupError:
        return None


def _entry(artefact: Artefact, defaults: set[Path | None]) -> dict[str, object]:
    manifest = artefact.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "task": manifest.task,
        "classes": len(artefact.labels),
        "width": manifest.preprocessing.width,
        "height": manifest.preprocessing.height,
        "bytes": artefact.model_path.stat().st_size,
        "metrics": dict(manifest.card.metrics),
        "default": artefact.model_path.parent in defaults,
    }


def _table(artefacts: tuple[Artefact, ...], defaults: set[Path | None]) -> Iterator[str]:
    """A line for each version, columns aligned."""
    rows = [("MODEL", "TASK", "CLASSES", "INPUT", "SIZE", "")]
    for artefact in artefacts:
        rule, size = artefact.manifest.preprocessing, artefact.model_path.stat().st_size
        note = "default" if artefact.model_path.parent in defaults else ""
        classes, side = str(len(artefact.labels)), f"{rule.width}x{rule.height}"
        rows.append((_id_of(artefact), artefact.manifest.task, classes, side, f"{size / 1e6:.1f} MB", note))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _described(artefact: Artefact) -> Iterator[str]:
    """The model card as lines."""
    manifest, card = artefact.manifest, artefact.manifest.card
    rule = manifest.preprocessing
    yield f"{_id_of(artefact)}: {manifest.task}, {len(artefact.labels)} classes, {card.architecture}"
    yield f"input          {rule.width}x{rule.height}, {rule.mode}, {rule.interpolation}"
    metrics = ", ".join(f"{name} {value:.1%}" for name, value in card.metrics.items())
    for title, text in (
        ("measured", f"{metrics} ({card.measured_on})" if metrics else card.measured_on),
        ("for", card.intended_use),
        ("learned from", card.training_data),
        ("terms", card.terms),
        ("classes", _some(artefact.labels)),
    ):
        yield f"{title:14} {text}"
    if manifest.groups:
        groups = Counter(manifest.groups)
        yield f"{'groups':14} {', '.join(name for name, _ in groups.most_common())}"


def _some(labels: tuple[str, ...]) -> str:
    rest = len(labels) - _SHOWN_LABELS
    return ", ".join(labels[:_SHOWN_LABELS]) + (f" and {rest} more" if rest > 0 else "")
