"""Checkpoint and ONNX files, of others and our own -> a version in a model repository.

A file is unwrapped to its tensors, the architecture is recognised from their names and shapes, all of them must fit,
and the result is exported like any trained model.
"""

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

from emo.export.groups import choose_groups
from emo_serve.defaults import keep_default
from emo_serve.labels import read_labels
from emo_serve.manifest import NAME_PATTERN, VERSION_PATTERN, ModelCard, Task, sha256_of

_LABELS = {("classify", 1000): "imagenet", ("detect", 80): "coco", ("segment", 150): "ade20k"}


@dataclass(frozen=True, slots=True)
class Target:
    """A version to be created in a model repository."""

    repository: Path
    name: str
    version: str

    def check(self) -> None:
        """Raise ValueError for an invalid name or version, FileExistsError for an existing one."""
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
        """The command that sends a photo to the model once it is served."""
        url = f"http://localhost:8000/{task}?model={self.name}&version={self.version}"
        return f"curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' '{url}'"


@dataclass(frozen=True, slots=True)
class Origin:
    """Texts of the model card for weights of others."""

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
    """Export the weights in ``path`` and return the folder; prints its findings.

    By default the ``architecture`` is recognised; the classes get ``labels`` (one name a line), else the file's own
    names, else those of ImageNet, COCO or ADE20K if the number matches, else numbers; ``groups`` is a table for
    ``choose_groups``; ``side`` (pixels, a multiple of 32) is that of the authors' test. Raise ValueError if the file is
    not safe to read, not a known model or not the expected one, FileExistsError if the version exists.
    """
    from emo.checkpoints.loader import restore  # noqa: PLC0415
    from emo.export.exporter import export, task_of  # noqa: PLC0415  PyTorch is loaded on first use

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
    """The names of ImageNet's, COCO's or ADE20K's classes if their number matches, else numbers; prints which."""
    known = _LABELS.get((task, count))
    if known:
        print(f"labels: the {count} names of {known}")
        return read_labels(Path(__file__).parents[1] / "labels" / f"{known}.txt")
    print(f"labels: no names are known for {count} classes, so they are numbered; --labels FILE gives them names")
    return tuple(f"class {index}" for index in range(count))


def parse_side(text: str) -> int:
    """The side of an input in pixels, from the command line."""
    side = int(text)
    if side % 32 or not 32 <= side <= 2048:
        msg = f"{side}: wants a multiple of 32 from 32 to 2048"
        raise argparse.ArgumentTypeError(msg)
    return side
