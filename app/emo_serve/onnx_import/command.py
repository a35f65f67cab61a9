"""``emo-serve add``: any ONNX classifier or detector -> a version in the model repository, and a first answer."""

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from emo_serve.engine.execution.pipeline import prepare
from emo_serve.engine.execution.session import OrtSession
from emo_serve.engine.execution.tasks import task_for
from emo_serve.engine.repository.artefacts import Artefact
from emo_serve.errors import InferenceFailed, ServiceError, StartupError
from emo_serve.files import read_regular
from emo_serve.manifest import NAME_PATTERN, VERSION_PATTERN
from emo_serve.onnx_import.artefact import LIMITS, write_artefact
from emo_serve.onnx_import.classifier_head import recognise_classifier
from emo_serve.onnx_import.conventions import YOLOX, conventions_of
from emo_serve.onnx_import.detector_head import recognise_detector
from emo_serve.onnx_import.graph import Network, begins_as_emo, read_network
from emo_serve.onnx_import.graph_builder import served_graph
from emo_serve.onnx_import.input_spec import recognise_input
from emo_serve.onnx_import.labels import labels_of
from emo_serve.onnx_import.model_spec import Finding, Head, InputSpec, NmsHead
from emo_serve.onnx_import.options import Options
from emo_serve.onnx_import.probes import probe
from emo_serve.onnx_import.yolox import declared_grids, find_grids
from emo_serve.settings import SessionOptions
from emo_serve.vision.image import decode
from emo_serve.vision.results import Classification, ClassifyParameters, Detections, DetectParameters

_SHOWN = 5


def add(options: Options) -> int:
    """Add the model, print the findings and a first answer; raises StartupError, and then leaves nothing behind."""
    target = _target(options)
    network = read_network(options.file)
    photo = None if options.photo is None else _read(options.photo)
    try:
        spec, head, labels, findings = _recognise(network, options, photo)
    except StartupError as error:
        msg = f"{options.file}: {error}"
        raise StartupError(msg) from error
    _say(f"{options.file}:", *_lines(findings))
    graph = served_graph(network.model, spec, head).SerializeToString()
    artefact = write_artefact(target, graph, spec, head, labels, options, network.files)
    _say(f"added {target}", *_shown(artefact, photo), *_hints(artefact, network, options.file))
    return 0


def _target(options: Options) -> Path:
    for flag, value, pattern in (("name", options.name, NAME_PATTERN), ("version", options.version, VERSION_PATTERN)):
        if not re.fullmatch(pattern.removeprefix("^").removesuffix("$"), value):
            msg = f"--{flag} {value!r} must match {pattern}"
            raise StartupError(msg)
    target = options.models / options.name / options.version
    if target.exists():
        msg = f"{target} exists already; versions are never overwritten, choose another with --version"
        raise StartupError(msg)
    return target


def _read(photo: Path) -> bytes:
    try:
        upload = read_regular(photo, LIMITS.max_bytes)
        decode(upload, LIMITS)
    except OSError as error:
        msg = f"{photo}: cannot be read: {error.strerror}"
        raise StartupError(msg) from error
    except ServiceError as error:
        msg = f"{photo}: {error}"
        raise StartupError(msg) from error
    return upload


def _recognise(
    network: Network, options: Options, photo: bytes | None
) -> tuple[InputSpec, Head, tuple[str, ...], list[Finding]]:
    picture = None if photo is None else decode(photo, LIMITS)
    usual = conventions_of(network, options)
    labels = labels_of(network, options)
    spec, findings = recognise_input(network, options, usual)
    probes = probe(network, spec, picture)
    grids = None
    if options.task == "detect" and options.boxes == "yolox":
        grids = declared_grids(probes.answers, spec.rule)
    elif options.task == "detect" and not network.is_ultralytics:
        grids = find_grids(probes.answers, spec.rule, labels.count)
    if grids is not None:
        spec, findings = recognise_input(network, options, YOLOX)
        probes = probe(network, spec, picture)
    head: Head
    if options.task == "classify":
        head, found = recognise_classifier(probes.answers, network.origins, options, labels)
    else:
        strides = grids.strides if grids and grids.is_raw and options.boxes in {None, "yolox"} else ()
        head, found = recognise_detector(network, probes.answers, options, labels, spec.rule, strides)
    spec, tried = probes.spec, list(probes.findings)
    if isinstance(head, NmsHead) and head.one_by_one and not spec.one_by_one:
        spec = replace(spec, one_by_one=True)
        text = "open, but the lists are those of one picture: they are computed one after the other"
        tried[-1] = Finding("batch", text)
    names, named = labels.named(head.num_classes)
    return spec, head, names, [*findings, *tried, *found, named]


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    for finding in findings:
        yield f"  {finding.subject:<11}{finding.text}" + (f"  [{finding.flag}]" if finding.flag else "")


def _shown(artefact: Artefact, photo: bytes | None) -> Iterator[str]:
    """The model's answer for the photo, by the server's own steps, as lines of text."""
    manifest = artefact.manifest
    prepared = prepare(photo or manifest.golden.image_bytes(), LIMITS, manifest.preprocessing)
    yield (
        "it says about the photo:"
        if photo
        else "it says about a picture of colours (try a photo of yours with --photo):"
    )
    try:
        outputs = OrtSession(artefact.model_path, manifest, SessionOptions()).run(prepared.tensor[None])
    except InferenceFailed as error:
        yield f"  nothing: {error}"
        return
    parameters = ClassifyParameters(top_k=_SHOWN) if manifest.task == "classify" else DetectParameters()
    answer = {name: values[0] for name, values in outputs.items()}
    result = task_for(artefact).postprocess(answer, prepared.geometry, parameters)
    match result:
        case Classification():
            for class_id, score in zip(result.class_ids, result.scores, strict=True):
                yield f"  {score:.4f}  {artefact.labels[class_id]}"
        case Detections():
            best = slice(_SHOWN)
            for class_id, score, box in zip(
                result.class_ids[best], result.scores[best], result.boxes_xyxy[best], strict=True
            ):
                corners = ", ".join(f"{value:.1f}" for value in box)
                yield f"  {score:.4f}  {artefact.labels[class_id]}  [{corners}]"
            yield f"  found: {len(result.class_ids)}, by the thresholds of the manifest"


def _hints(artefact: Artefact, network: Network, file: Path) -> Iterator[str]:
    manifest = artefact.manifest
    yield f"if that is wrong, remove {artefact.model_path.parent} and add it again with the flag in brackets above"
    yield (
        "curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' "
        f"'localhost:8000/{manifest.task}?model={manifest.name}'"
    )
    if manifest.task == "classify" and begins_as_emo(network.model):
        command = f"emo import {file} --name {manifest.name}-emo"
        yield f"this looks like EMO: `{command}` makes its network take three fifths of the CPU time (docs/models.md)"


def _say(*lines: str) -> None:
    sys.stdout.write("\n".join(lines) + "\n")
