"""The model that a student learns from: any classifier of a model repository."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emo.evaluation.predict import onnx_predict
from emo.evaluation.targets import find_version
from emo_serve.manifest import LABELS_FILE, MANIFEST_FILE, MODEL_FILE, Preprocessing, read_labels, read_manifest


@dataclass(frozen=True, slots=True)
class Teacher:
    """A classifier that was trained before; ``digest`` tells it from all others."""

    names: tuple[str, ...]
    rule: Preprocessing
    predict: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    """(N, height, width, 3) -> probabilities (N, C)."""
    digest: str


def read_teacher(folder: Path) -> Teacher:
    """The classifier in the version folder ``folder`` of a model repository.

    Raise ValueError when it is none, InvalidManifest when the folder holds no model.
    """
    manifest = read_manifest(folder / MANIFEST_FILE)
    if manifest.task != "classify":
        msg = f"{folder}: a teacher has to be a classifier; this model's task is {manifest.task}"
        raise ValueError(msg)
    predict = onnx_predict(folder / MODEL_FILE)
    return Teacher(
        read_labels(folder / LABELS_FILE),
        manifest.preprocessing,
        lambda images: predict(images)[0],
        manifest.sha256[MODEL_FILE][:8],
    )


def find_teacher(name: str, repository: Path) -> Teacher:
    """The teacher ``name``: a version folder, or a model of the repository, of which it is the highest version.

    Raise ValueError when there is none.
    """
    return read_teacher(find_version(name, repository))
