"""A wrapped graph -> ``models/<name>/<version>/``, whole and accepted by the server's own self-test, or nothing."""

import shutil
from pathlib import Path

import numpy as np

from app.add.options import Options
from app.add.plan import DetectorEnd, End, Front
from app.add.wrap import INPUT
from app.engine.repository import Artefact, read_artefact
from app.engine.selftest import self_test
from app.engine.session import OrtSession, answers_of
from app.errors import StartupError
from app.manifest import (
    LABELS_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    DetectionDefaults,
    Manifest,
    ModelCard,
    Tensor,
    read_labels,
    sha256_of,
    write_manifest,
)
from app.settings import DEFAULT_MAX_BATCH_SIZE, SessionOptions
from app.vision.golden import golden_pair, golden_picture
from app.vision.image import ImageLimits
from app.vision.picture import Picture
from app.vision.preprocess import preprocess

LIMITS = ImageLimits()
_FLOAT16_LOOSENESS = 50
"""Of the golden pair: float16 has 11 bits of precision, and a batch may round otherwise than an image alone."""


def write_artefact(
    target: Path, graph: bytes, front: Front, end: End, labels: tuple[str, ...], options: Options
) -> Artefact:
    """Write all files into a hidden folder, try them as the server does, then move it; raises StartupError."""
    draft = target.parent / f".{target.name}.partial"
    new_parent = not target.parent.exists()
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
        (draft / MODEL_FILE).write_bytes(graph)
        (draft / LABELS_FILE).write_text("\n".join(labels) + "\n", encoding="utf-8")
        manifest = _manifest(draft, target, front, end, options)
        write_manifest(manifest, draft / MANIFEST_FILE)
        artefact = Artefact(manifest, read_labels(draft / LABELS_FILE), draft / MODEL_FILE)
        session = OrtSession(artefact.model_path, manifest, SessionOptions())
        self_test(artefact, session, LIMITS, DEFAULT_MAX_BATCH_SIZE)
        draft.rename(target)
    except ValueError as error:  # of the manifest's own rules
        msg = f"{options.file}: cannot be described: {error}"
        raise StartupError(msg) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        if new_parent and target.parent.is_dir() and not any(target.parent.iterdir()):
            target.parent.rmdir()
    return read_artefact(target)


def _manifest(draft: Path, target: Path, front: Front, end: End, options: Options) -> Manifest:
    rule = front.rule
    picture = golden_picture()
    tensor = preprocess(Picture.of(picture), rule)[0][None]
    found = answers_of((draft / MODEL_FILE).read_bytes(), {INPUT: tensor})
    answers = {name: found[name].astype(np.float32) for name in _outputs(end)}
    is_half = front.dtype == "float16"
    return Manifest(
        name=target.parent.name,
        version=target.name,
        task=options.task,
        input=Tensor(name=INPUT, dtype="uint8", shape=(-1, rule.height, rule.width, 3)),
        outputs=tuple(
            Tensor(name=name, dtype="float32", shape=(-1, *answer.shape[1:])) for name, answer in answers.items()
        ),
        preprocessing=rule,
        detection=DetectionDefaults() if options.task == "detect" else None,
        sha256={file: sha256_of(draft / file) for file in (MODEL_FILE, LABELS_FILE)},
        golden=golden_pair(
            picture, {name: answer[0] for name, answer in answers.items()}, _FLOAT16_LOOSENESS if is_half else 1
        ),
        card=ModelCard(
            architecture=options.file.stem,
            training_data="unknown",
            recipe=f"added from {options.file.name}, sha256 {sha256_of(options.file)}",
            seed=0,
            metrics={},
            measured_on="nothing",
            intended_use="unknown",
            terms="unknown: those of the file",
        ),
    )


def _outputs(end: End) -> tuple[str, ...]:
    return ("boxes", "scores") if isinstance(end, DetectorEnd) else ("scores",)
