"""The weights of a run -> a measured version in a model repository."""

import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

from app.defaults import keep_default
from app.manifest import MANIFEST_FILE, ModelCard, read_manifest
from emo.evaluation.predict import Predict
from emo.export import export, task_of
from emo.importing import Target
from emo.restoring import Restored, read_checkpoint, restore_own

Measure = Callable[[Restored, Predict], dict[str, float]]
TEXTS = ("training_data", "recipe", "measured_on", "intended_use", "terms")


def read_texts(card: Path) -> dict[str, str]:
    """The texts of a model card from a TOML file; raise ValueError for a key that is none of them."""
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


def publish(checkpoint: Path, texts: Mapping[str, str], target: Target, measure: Measure | None) -> Path:
    """Export ``weights.pt`` (or ``last.pt``) of a run and give the folder; says what it measures and how to ask for it.

    The figures on the card are what ``measure`` finds for the ONNX file. Raise ValueError when a text is missing,
    FileExistsError when the version exists.
    """
    target.check()
    missing = [key for key in TEXTS if key not in texts]
    if missing:
        msg = f"the model card wants {', '.join(missing)} too"
        raise ValueError(msg)
    trained = restore_own(read_checkpoint(checkpoint))
    folder = export(
        trained.model,
        trained.labels,
        trained.rule,
        ModelCard(architecture=trained.architecture, seed=trained.seed, metrics={}, **texts),
        target.repository,
        target.name,
        target.version,
        None if measure is None else lambda predict: measure(trained, predict),
    )
    metrics = read_manifest(folder / MANIFEST_FILE).card.metrics
    print(f"written: {folder}" + "".join(f"\n{key:>16} {value:.4f}" for key, value in metrics.items()))
    server = Path(sys.executable).with_name("emo-serve")
    print(f"serve it with\n  {server} serve --models {target.repository}\nand ask it with")
    task = task_of(trained.model)
    print(f"  {target.question(task)}")
    print(keep_default(target.repository, task, target.name))
    return folder
