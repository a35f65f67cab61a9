"""The model that a student learns from: any classifier of a model repository, or an ONNX file."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emo.evaluation.targets import find_version
from emo.export.predict import onnx_predict
from emo_serve.labels import read_labels
from emo_serve.manifest import LABELS_FILE, MANIFEST_FILE, MODEL_FILE, Preprocessing, read_manifest


@dataclass(frozen=True, slots=True)
class Teacher:
    """A trained classifier; ``digest`` identifies it."""

    names: tuple[str, ...]
    rule: Preprocessing
    predict: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    """(N, height, width, 3) -> probabilities (N, C)."""
    digest: str


def read_teacher(folder: Path) -> Teacher:
    """The classifier in the version folder ``folder`` of a model repository.

    Raise ValueError if it is not a classifier, InvalidManifest if the folder holds no model.
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


def find_teacher(name: str, repository: Path, cache: Path) -> Teacher:
    """The teacher ``name``: an ONNX file, a version folder, or the highest version of a model of the repository.

    Raise ValueError if there is none.
    """
    path = Path(name)
    is_file = path.suffix == ".onnx" and path.is_file()
    return read_teacher(_described(path, cache) if is_file else find_version(name, repository))


def _described(path: Path, cache: Path) -> Path:
    """The version folder that ``emo-serve add`` makes of an ONNX file, once, below ``cache``.

    Raise ValueError with the output of that command if it fails.
    """
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    repository = cache / f"teacher-{digest}"
    folder = repository / "teacher" / "1"
    if folder.exists():
        return folder
    command = [sys.executable, "-m", "emo_serve", "add", str(path), "--task", "classify", "--name", "teacher"]
    done = subprocess.run([*command, "--models", str(repository)], check=False, capture_output=True, text=True)  # noqa: S603  our own command
    if done.returncode:
        fault = done.stderr.strip().removeprefix("emo-serve: ")
        msg = f"{fault}\nWhere that needs options, run `emo-serve add` with them and name that model as --teacher."
        raise ValueError(msg)
    print(f"teacher:\n{done.stdout.rstrip()}")
    return folder
