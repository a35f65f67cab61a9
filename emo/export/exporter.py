"""A trained model -> ``models/<name>/<version>/{model.onnx,labels.txt,manifest.json}``, or nothing.

The graph ends where the mathematics ends: a classifier at probabilities, a detector at decoded boxes and scores, a
segmenter at the logits of its own resolution.
Everything is made in a hidden folder beside the target, checked, and then moved there in one step.
"""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from emo.export.graph_fusion import ServedGraph
from emo.export.predict import Predict, onnx_predict
from emo.models.heads.classifier import Classifier
from emo.models.heads.model import Model
from emo.models.heads.segmenter import Segmenter
from emo.models.preprocessing import normalise
from emo_serve.atomic import atomic_folder
from emo_serve.manifest import (
    LABELS_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    DetectionDefaults,
    Manifest,
    ModelCard,
    Preprocessing,
    Task,
    Tensor,
    sha256_of,
    write_manifest,
)
from emo_serve.vision.golden import golden_pair, golden_picture
from emo_serve.vision.picture import Picture
from emo_serve.vision.preprocess import preprocess

OPSET = 20
PARITY = 1e-5
"""Tolerance relative to PyTorch: scores in [0, 1], boxes in input sides, logits as a share of the largest."""

_OUTPUTS: dict[Task, list[str]] = {"classify": ["scores"], "detect": ["boxes", "scores"], "segment": ["logits"]}
_MOST_PARITY_BYTES = 32 * 2**20  # of one image's outputs; larger ones are not compared in the largest batch


def export(  # noqa: PLR0913  an artefact has many parts
    model: Model,
    labels: tuple[str, ...],
    rule: Preprocessing,
    card: ModelCard,
    repository: Path,
    name: str,
    version: str,
    measure: Callable[[Predict], dict[str, float]] | None = None,
    *,
    groups: tuple[str, ...] | None = None,
) -> Path:
    """Write the artefact and return its folder; the card's metrics are what ``measure`` returns for the ONNX file.

    ``groups``: of a classifier, the broad group of each label, if there are some. Prints how closely the ONNX file
    agrees with PyTorch. Raise FileExistsError if the version exists (versions are never overwritten), ValueError if
    labels or outputs do not fit; then nothing is left behind.
    """
    target = repository / name / version
    if target.exists():
        msg = f"{target} exists already; choose another version"
        raise FileExistsError(msg)
    if len(labels) != model.num_classes:
        msg = f"{len(labels)} labels for {model.num_classes} classes"
        raise ValueError(msg)
    with atomic_folder(target) as draft:
        task = task_of(model)
        write_onnx(ServedGraph(model), rule.height, rule.width, _OUTPUTS[task], draft / MODEL_FILE)
        predict = onnx_predict(draft / MODEL_FILE)
        for batch, difference in _check_parity(model, predict, rule).items():
            print(f"batch {batch}: the ONNX file differs from PyTorch by {difference:.1e}, allowed is {PARITY}")
        (draft / LABELS_FILE).write_text("\n".join(labels) + "\n", encoding="utf-8")
        if measure is not None:
            card = card.model_copy(
                update={"metrics": {key: round(value, 4) for key, value in measure(predict).items()}}
            )
        manifest = _describe(predict, task, rule, card, draft, name, version, groups)
        write_manifest(manifest, draft / MANIFEST_FILE)
    return target


def task_of(model: Model) -> Task:
    """The task of the model."""
    if isinstance(model, Classifier):
        return "classify"
    return "segment" if isinstance(model, Segmenter) else "detect"


def _describe(
    predict: Predict,
    task: Task,
    rule: Preprocessing,
    card: ModelCard,
    folder: Path,
    name: str,
    version: str,
    groups: tuple[str, ...] | None,
) -> Manifest:
    picture = golden_picture()
    answers = predict(preprocess(Picture.of(picture), rule)[0][None])
    return Manifest(
        name=name,
        version=version,
        task=task,
        input=Tensor(name="images", dtype="uint8", shape=(-1, rule.height, rule.width, 3)),
        outputs=tuple(
            Tensor(name=output, dtype="float32", shape=(-1, *answer.shape[1:]))
            for output, answer in zip(_OUTPUTS[task], answers, strict=True)
        ),
        preprocessing=rule,
        detection=_defaults_for(card) if task == "detect" else None,
        groups=groups,
        sha256={file: sha256_of(folder / file) for file in (MODEL_FILE, LABELS_FILE)},
        golden=golden_pair(
            picture, {output: answer[0] for output, answer in zip(_OUTPUTS[task], answers, strict=True)}
        ),
        card=card,
    )


def _defaults_for(card: ModelCard) -> DetectionDefaults:
    """A detector's defaults, with the score threshold of the best F1, if that was measured."""
    if "f1_threshold" in card.metrics:
        return DetectionDefaults(score_threshold=card.metrics["f1_threshold"])
    return DetectionDefaults()


def write_onnx(graph: ServedGraph, height: int, width: int, output_names: list[str], path: Path) -> None:
    """Export with a dynamic batch; the exporter's notes about the source tree are removed."""
    example = torch.zeros((2, height, width, 3), dtype=torch.uint8)
    quiet = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = quiet.level
    quiet.setLevel(logging.ERROR)  # it warns about missing torchvision, which is not used
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # from PyTorch's own code, about pytree
            program = torch.onnx.export(
                graph,
                (example,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=1024)},),
                input_names=["images"],
                output_names=output_names,
                opset_version=OPSET,
                verbose=False,
            )
    finally:
        quiet.setLevel(level)
    if program is None:  # pragma: no cover - only without dynamo
        msg = "the exporter returned no program"
        raise ValueError(msg)
    proto = program.model_proto
    for node in (*proto.graph.node, *proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        del node.metadata_props[:]
        node.doc_string = ""
    del proto.graph.metadata_props[:]
    del proto.metadata_props[:]
    onnx.checker.check_model(proto)
    onnx.save(proto, str(path))


def _check_parity(model: Model, predict: Predict, rule: Preprocessing) -> dict[int, float]:
    """The largest difference at batch 1, 2 and 7 between the file and the trained model.

    Raise ValueError if it is too large.
    """
    model.eval()
    rng = np.random.default_rng(0)
    found: dict[int, float] = {}
    image_bytes = 0
    for batch in (1, 2, 7):
        if batch > 2 and image_bytes > _MOST_PARITY_BYTES:
            break
        images = rng.integers(0, 256, (batch, rule.height, rule.width, 3), dtype=np.uint8)
        with torch.no_grad():
            outputs = model(normalise(torch.from_numpy(images)))
            if isinstance(model, Classifier):
                outputs = outputs.softmax(-1)
            wanted = [answer.numpy() for answer in (outputs if isinstance(outputs, tuple) else (outputs,))]
        image_bytes = sum(value.nbytes for value in wanted) // batch
        for name, answer, value in zip(_OUTPUTS[task_of(model)], predict(images), wanted, strict=True):
            difference = float(np.abs(answer - value).max()) / _scale(name, value, rule)
            if answer.shape != value.shape or not difference <= PARITY:
                msg = f"batch {batch}: the ONNX file differs from PyTorch by {difference:.2g}, allowed is {PARITY}"
                raise ValueError(msg)
            found[batch] = max(difference, found.get(batch, 0.0))
    return found


def _scale(name: str, value: NDArray[np.float32], rule: Preprocessing) -> float:
    """The unit of a difference."""
    if name == "boxes":
        return float(max(rule.height, rule.width))
    return max(1.0, float(np.abs(value).max())) if name == "logits" else 1.0
