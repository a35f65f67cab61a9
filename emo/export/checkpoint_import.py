"""Checkpoint and ONNX files of others, and our own -> a version in a model repository.

A file is unwrapped to its tensors, the architecture is recognised from their names and shapes, all of them must fit,
and what comes out is exported as any trained model is.
"""

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

from emo.export.groups import choose_groups
from emo_serve.defaults import keep_default
from emo_serve.manifest import NAME_PATTERN, VERSION_PATTERN, ModelCard, Task, read_labels, sha256_of

_LABELS = {("classify", 1000): "imagenet", ("detect", 80): "coco", ("segment", 150): "ade20k"}


@dataclass(frozen=True, slots=True)
class Target:
    """A version that is to be made in a model repository."""

    repository: Path
    name: str
    version: str

    def check(self) -> None:
        """Raise ValueError for a name or version that no model can have, FileExistsError for one that is taken."""
        if not re.match(NAME_PATTERN, self.name) or not re.match(VERSION_PATTERN, self.version):
            msg = (
                f"{self.name!r} version {self.version!r}: a name must match {NAME_PATTERN}, a version {VERSION_PATTERN}"
            )
            raise ValueError(msg)
        folder = self.repository / self.name / self.version
        if folder.exists():
            msg = f"{folder} exists already; choose another version"
            raise FileExistsError(msg)

    def question(self, task: Task) -> str:
        """The command that asks the model about a photo, where it is served."""
        url = f"http://localhost:8000/{task}?model={self.name}&version={self.version}"
        return f"curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' '{url}'"


@dataclass(frozen=True, slots=True)
class Origin:
    """What the model card says of weights that were made elsewhere."""

    training_data: str = "not known"
    terms: str = "those of the owner of the imported file"


def import_file(
    path: Path,
    target: Target,
    origin: Origin,
    *,
    architecture: str | None = None,
    labels: Path | None = None,
    groups: Path | None = None,
    side: int | None = None,
) -> Path:
    """Export the weights in ``path`` and give the folder; prints what is found on the way.

    Without ``architecture`` that is recognised; without ``labels`` (one name a line) the classes get the file's own
    names, those of ImageNet, COCO or ADE20K where their number is right, or else numbers; ``groups`` is a table for
    ``choose_groups``; without ``side`` (pixels, a multiple of 32) the input is as the authors test. Raise ValueError
    when the file is not safe to read, no model that is known or not quite the one that it should be, FileExistsError
    when the version exists.
    """
    from emo.checkpoints.loader import restore  # noqa: PLC0415
    from emo.export.exporter import export, task_of  # noqa: PLC0415  PyTorch is loaded by who does something

    target.check()
    restored = restore(path, side, architecture)
    model, task = restored.model, task_of(restored.model)
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    print(
        f"recognised: {restored.architecture}, {task}, {model.num_classes} classes, {millions:.1f} million parameters"
    )
    names = read_labels(labels) if labels else restored.labels or usual_labels(task, model.num_classes)
    chosen = choose_groups(task, names, groups)
    rule = restored.rule
    print(f"input: {rule.height} x {rule.width} pixels, {rule.mode}, {rule.interpolation}")
    card = ModelCard(
        architecture=restored.architecture,
        training_data=origin.training_data,
        recipe=f"imported from {path.name}, SHA-256 {sha256_of(path)}",
        seed=restored.seed,
        metrics={},
        measured_on="not measured here",
        intended_use="not stated",
        terms=origin.terms,
    )
    folder = export(model, names, rule, card, target.repository, target.name, target.version, groups=chosen)
    print(f"written: {folder}; where it is served, ask it with")
    print(target.question(task))
    print(keep_default(target.repository, task, target.name))
    return folder


def usual_labels(task: str, count: int) -> tuple[str, ...]:
    """The names of ImageNet's, COCO's or ADE20K's classes where their number is right, else numbers; says which."""
    known = _LABELS.get((task, count))
    if known:
        print(f"labels: the {count} names of {known}")
        return read_labels(Path(__file__).parent / "labels" / f"{known}.txt")
    print(f"labels: no names are known for {count} classes, so they are numbered; --labels FILE gives them names")
    return tuple(f"class {index}" for index in range(count))


def parse_side(text: str) -> int:
    """The side of an input in pixels, on the command line."""
    side = int(text)
    if side % 32 or not 32 <= side <= 2048:
        msg = f"{side}: wants a multiple of 32 from 32 to 2048"
        raise argparse.ArgumentTypeError(msg)
    return side
