"""Served graph -> ``models/<name>/<version>/``, complete and accepted by the server's own self-test, or nothing."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emo_serve.atomic import atomic_folder
from emo_serve.engine.execution.session import GraphSession, OrtSession
from emo_serve.engine.registry.self_test import self_test
from emo_serve.engine.repository.artefacts import Artefact, read_artefact
from emo_serve.errors import StartupError
from emo_serve.groups import read_groups
from emo_serve.labels import read_labels
from emo_serve.manifest import (
    LABELS_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    DetectionDefaults,
    Manifest,
    ModelCard,
    Tensor,
    sha256_of,
    write_manifest,
)
from emo_serve.onnx_import.graph_builder import INPUT
from emo_serve.onnx_import.model_spec import ClassifierHead, Head, InputSpec, NmsHead
from emo_serve.onnx_import.options import Options
from emo_serve.onnx_import.outputs import shapes
from emo_serve.settings import DEFAULT_MAX_BATCH_SIZE, SessionOptions
from emo_serve.vision.golden import golden_pair, golden_picture
from emo_serve.vision.image import ImageLimits
from emo_serve.vision.picture import Picture
from emo_serve.vision.preprocess import preprocess

LIMITS = ImageLimits()
_FLOAT16_LOOSENESS = 50
"""For the golden pair: float16 has 11 bits of precision, and a batch may round differently than a single image."""

_ALL_STAY = 1.0
"""IoU threshold above any overlap, so that no box that the network kept is suppressed."""
_CLEARLY_BETTER = 1e-3  # score difference: ten times the tolerance of a golden pair


def write_artefact(
    target: Path,
    graph: bytes,
    spec: InputSpec,
    head: Head,
    labels: tuple[str, ...],
    options: Options,
    sources: Sequence[Path],
) -> Artefact:
    """Write all files into a hidden folder, test them as the server does, then rename it; raises StartupError.

    ``sources`` are the files that the graph and its weights were read from.
    """
    try:
        with atomic_folder(target) as draft:
            (draft / MODEL_FILE).write_bytes(graph)
            (draft / LABELS_FILE).write_text("\n".join(labels) + "\n", encoding="utf-8")
            manifest = _manifest(draft, target, spec, head, options, sources)
            write_manifest(manifest, draft / MANIFEST_FILE)
            artefact = Artefact(manifest, read_labels(draft / LABELS_FILE), draft / MODEL_FILE)
            session = OrtSession(artefact.model_path, manifest, SessionOptions())
            self_test(artefact, session, LIMITS, DEFAULT_MAX_BATCH_SIZE)
    except ValueError as error:  # from validation of the manifest
        msg = f"{options.file}: cannot be described: {error}"
        raise StartupError(msg) from error
    return read_artefact(target)


def _manifest(
    draft: Path, target: Path, spec: InputSpec, head: Head, options: Options, sources: Sequence[Path]
) -> Manifest:
    rule = spec.rule
    picture, answers = _golden_answers((draft / MODEL_FILE).read_bytes(), spec, head)
    is_half = spec.dtype == "float16"
    return Manifest(
        name=target.parent.name,
        version=target.name,
        task=options.task,
        input=Tensor(name=INPUT, dtype="uint8", shape=(-1, rule.height, rule.width, 3)),
        outputs=tuple(Tensor(name=name, dtype="float32", shape=(-1, *shape)) for name, shape in shapes(head).items()),
        preprocessing=rule,
        detection=_defaults(head),
        groups=read_groups(options.groups, read_labels(draft / LABELS_FILE)) if options.groups else None,
        sha256={file: sha256_of(draft / file) for file in (MODEL_FILE, LABELS_FILE)},
        golden=golden_pair(picture, answers, _FLOAT16_LOOSENESS if is_half else 1),
        card=ModelCard(
            architecture=options.file.stem,
            training_data="unknown",
            recipe="added from " + " and ".join(f"{file.name}, sha256 {sha256_of(file)}" for file in sources),
            seed=0,
            metrics={},
            measured_on="nothing",
            intended_use="unknown",
            terms="unknown: those of the file",
        ),
    )


def _defaults(head: Head) -> DetectionDefaults | None:
    if isinstance(head, ClassifierHead):
        return None
    return DetectionDefaults(iou_threshold=_ALL_STAY) if isinstance(head, NmsHead) else DetectionDefaults()


def _golden_answers(
    graph: bytes, spec: InputSpec, head: Head
) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.float32]]]:
    """A picture, and the reproducible part of the outputs for it; raises StartupError if there is none."""
    served = GraphSession(graph)
    for picture in (golden_picture(), np.zeros((36, 48, 3), np.uint8)):
        found = served.run({INPUT: preprocess(Picture.of(picture), spec.rule)[0][None]})
        answers = {name: found[name][0].astype(np.float32) for name in shapes(head)}
        steady = _steady_rows(answers["scores"]) if isinstance(head, NmsHead) else None
        if steady != 0 and all(np.isfinite(answer).all() for answer in answers.values()):
            return picture, {name: answer[:steady] for name, answer in answers.items()}
    msg = "no picture made here gives answers that could be compared elsewhere: they are NaN, infinite or all alike"
    raise StartupError(msg)


def _steady_rows(scores: NDArray[np.float32]) -> int:
    """The number of first rows, best first (A, C), whose order no rounding can change."""
    best = scores.max(axis=1)
    may_change = (best[:-1] - best[1:] < _CLEARLY_BETTER) & (best[:-1] > 0)
    return int(may_change.argmax()) if may_change.any() else len(best)
