"""The weights of a run -> a measured version in a model repository."""

import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from emo.checkpoints.loader import Restored, restore
from emo.export.checkpoint_import import Target, usual_labels
from emo.export.classes import keep_classes
from emo.export.exporter import export, task_of
from emo.export.groups import choose_groups
from emo.export.predict import Predict
from emo_serve.defaults import keep_default
from emo_serve.labels import read_labels
from emo_serve.manifest import MANIFEST_FILE, ModelCard, read_manifest

Measure = Callable[[Restored, Predict, tuple[str, ...] | None], dict[str, float]]
"""Returns the figures of an exported model, from its ONNX predictions and the groups of its classes."""
TEXTS = ("training_data", "recipe", "measured_on", "intended_use", "terms")


@dataclass(frozen=True, slots=True)
class Classes:
    """Overrides for the classes of an exported model."""

    labels: Path | None = None
    """A file with their names, one a line; None for those of the run, or the usual ones for their number."""
    groups: Path | None = None
    """A table for ``choose_groups``."""
    kept: Sequence[str] | None = None
    """The only classes that a classifier keeps."""


def read_texts(card: Path) -> dict[str, str]:
    """The texts of a model card from a TOML file; raise ValueError for an unknown key."""
    try:
        texts = tomllib.loads(card.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        msg = f"{card}: {error}"
        raise ValueError(msg) from error
    for key, value in texts.items():
        if key not in TEXTS or not isinstance(value, str):
            msg = f"{card}: {key!r} is no text of a card; there are {', '.join(TEXTS)}"
            raise ValueError(msg)
    return texts


def publish(
    checkpoint: Path,
    texts: Mapping[str, str],
    target: Target,
    measure: Measure | None,
    classes: Classes = Classes(),
    side: int | None = None,
) -> Path:
    """Export ``weights.pt`` of a run, or any checkpoint, and return the folder; prints how to query it.

    ``side`` (pixels) is that of the served input, where not the one that training ended with.

    The figures on the card, which are printed, are those that ``measure`` returns for the ONNX file. Raise ValueError
    if a text is missing, a class is unknown or the file is not a checkpoint, FileExistsError if the version exists.
    """
    target.check()
    missing = [key for key in TEXTS if key not in texts]
    if missing:
        msg = f"the model card wants {', '.join(missing)} too"
        raise ValueError(msg)
    trained = restore(checkpoint, side)
    task, count = task_of(trained.model), trained.model.num_classes
    names = read_labels(classes.labels) if classes.labels else trained.labels or usual_labels(task, count)
    trained = replace(trained, labels=names)
    if classes.kept is not None:
        trained = keep_classes(trained, classes.kept)
    chosen = choose_groups(task, trained.labels, classes.groups)
    folder = export(
        trained.model,
        trained.labels,
        trained.rule,
        ModelCard(architecture=trained.architecture, seed=trained.seed, metrics={}, **texts),
        target.repository,
        target.name,
        target.version,
        None if measure is None else lambda predict: measure(trained, predict, chosen),
        groups=chosen,
    )
    metrics = read_manifest(folder / MANIFEST_FILE).card.metrics
    print(f"written: {folder}" + "".join(f"\n{key:>16} {value:.4f}" for key, value in metrics.items()))
    server = Path(sys.executable).with_name("emo-serve")
    print(f"serve it with\n  {server} serve --models {target.repository}\nand ask it with")
    print(f"  {target.question(task)}")
    print(keep_default(target.repository, task, target.name))
    return folder
