"""The target of a command -> an evaluated model: an exported one, a checkpoint, or that of a server."""

from pathlib import Path
from urllib.parse import urlsplit

import torch

from emo.checkpoints.loader import restore
from emo.evaluation.evaluated_model import LEAST_SCORE, Description, EvaluatedModel, digest_of
from emo.evaluation.local import local_model
from emo.evaluation.server import served_model
from emo.export.checkpoint_import import usual_labels
from emo.export.exporter import task_of
from emo.export.groups import choose_groups
from emo.export.predict import onnx_predict, torch_predict
from emo_serve.labels import read_labels
from emo_serve.manifest import LABELS_FILE, MANIFEST_FILE, MODEL_FILE, DetectionDefaults, read_manifest, sha256_of


def choose_model(
    what: str, model: str | None = None, side: int | None = None, least_score: float = LEAST_SCORE
) -> EvaluatedModel:
    """The evaluated model that ``what`` refers to.

    A folder of a model repository, an ``.onnx`` file beside its manifest, a checkpoint that ``emo import`` reads, or
    the URL of a server. ``model`` is for servers only, ``side`` (pixels of the input) for checkpoints only. A
    detector's score threshold is ``least_score``. Raise ValueError, OSError or InvalidManifest if it is none of these.
    """
    is_url = urlsplit(what).scheme in {"http", "https"}
    path = Path(what)
    is_exported = not is_url and (path.is_dir() or path.suffix == ".onnx")
    if model and not is_url:
        msg = f"--model chooses among the models of a server, and {what} is no URL"
        raise ValueError(msg)
    if side and (is_url or is_exported):
        msg = f"--side goes with a checkpoint; the input of {what} is what it is"
        raise ValueError(msg)
    if is_url:
        return served_model(what, model, least_score)
    if is_exported:
        return _exported(path / MODEL_FILE if path.is_dir() else path, least_score)
    return _restored(path, side, least_score)


def find_version(name: str, repository: Path) -> Path:
    """The version folder ``name``, or that of the highest version of the model ``name`` in the repository.

    Raise ValueError if there is none.
    """
    folder = Path(name)
    if not (folder / MANIFEST_FILE).exists():
        versions = sorted((repository / name).glob(f"[1-9]*/{MANIFEST_FILE}"), key=lambda path: int(path.parent.name))
        if not versions:
            msg = f"no model {name!r}: neither a version folder nor a model in {repository}"
            raise ValueError(msg)
        folder = versions[-1].parent
    return folder


def _exported(file: Path, least_score: float) -> EvaluatedModel:
    """The ONNX file, as described by the manifest beside it."""
    manifest = read_manifest(file.parent / MANIFEST_FILE)
    digests = {name: sha256_of(file.parent / name) for name in manifest.sha256}
    if file.name == MODEL_FILE and digests != manifest.sha256:
        wrong = ", ".join(name for name, digest in digests.items() if digest != manifest.sha256[name])
        msg = f"{file.parent}: {wrong} is not what the manifest says (SHA-256)"
        raise ValueError(msg)
    description = Description(
        task=manifest.task,
        labels=read_labels(file.parent / LABELS_FILE),
        rule=manifest.preprocessing,
        detection=manifest.detection or DetectionDefaults(),
        architecture=manifest.card.architecture,
        digest=digest_of(
            digests if file.name == MODEL_FILE else {**digests, file.name: sha256_of(file)}, manifest.groups
        ),
        groups=manifest.groups,
        least_score=least_score,
    )
    return local_model(description, onnx_predict(file))


def _restored(file: Path, side: int | None, least_score: float) -> EvaluatedModel:
    """The weights of a checkpoint, on the GPU if there is one."""
    restored = restore(file, side)
    task = task_of(restored.model)
    labels = restored.labels or usual_labels(task, restored.model.num_classes)
    groups = choose_groups(task, labels)
    description = Description(
        task=task,
        labels=labels,
        rule=restored.rule,
        architecture=restored.architecture,
        digest=digest_of({"weights": sha256_of(file)}, groups),
        groups=groups,
        least_score=least_score,
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return local_model(description, torch_predict(restored.model.eval().to(device)))
