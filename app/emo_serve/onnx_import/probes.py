"""Probing of a network: its answers for some pictures, single, in a batch, and before its conversion."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from emo_serve.engine.execution.session import GraphSession
from emo_serve.errors import StartupError
from emo_serve.onnx_import.classifier_head import Answers
from emo_serve.onnx_import.graph import Network
from emo_serve.onnx_import.graph_builder import INPUT, output_name, preprocessing_graph, probe_graph
from emo_serve.onnx_import.model_spec import Finding, InputSpec
from emo_serve.onnx_import.opset import OLDEST_OPSET
from emo_serve.vision.golden import golden_picture
from emo_serve.vision.picture import Picture
from emo_serve.vision.preprocess import preprocess

_TOGETHER = 5
"""Number of pictures in the probed batch."""
_SAME = 1e-4  # of the largest value: tolerance for a conversion
_SAME_HALF = 1e-2

Answer = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Probes:
    """Results of probing a network."""

    spec: InputSpec
    """The input spec, with ``one_by_one`` updated."""
    answers: Answers
    """Answers for the pictures whose answers are finite."""
    findings: tuple[Finding, ...]


def probe(network: Network, spec: InputSpec, photo: Picture | None) -> Probes:
    """Run the network on some pictures; raises StartupError if it fails, or gives no finite answer."""
    tensors = dict(_tensors(spec, photo))
    graph = GraphSession(probe_graph(network.model, spec).SerializeToString())
    everything = {name: graph.run({INPUT: tensor[None]}) for name, tensor in tensors.items()}
    alone = {name: answer for name, answer in everything.items() if _is_finite(answer)}
    if not alone:
        msg = "it answers NaN or infinity whatever the picture; are --mean and --std those of its training?"
        raise StartupError(msg)
    name, answer = next(iter(alone.items()))
    _check_repeatable(answer, graph.run({INPUT: tensors[name][None]}))
    findings = []
    if network.before_conversion is not None:
        findings.append(_compare(network, spec, {name: tensors[name] for name in alone}, alone))
    if len(alone) < len(everything):
        bad = ", ".join(name for name in everything if name not in alone)
        text = f"NaN or infinity for {bad}: such pictures cannot be answered, and tell nothing here"
        findings.append(Finding("not finite", text, "--mean, --std"))
    names = [output.name for output in network.outputs]
    held = [name for name in names if all(output_name(name) in answer for answer in alone.values())]
    answers = {name: [answer[output_name(name)] for answer in alone.values()] for name in held}
    spec, batch = _batch(graph, spec, [tensors[name] for name in alone], list(alone.values()))
    return Probes(spec, answers, (*findings, batch))


def _tensors(spec: InputSpec, photo: Picture | None) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Pictures with much, too much and no content; and mirrored ones, to balance left and right."""
    made = {
        "a picture of colours": golden_picture(),
        "a made landscape": _landscape(),
        "noise": np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8),
        "a black picture": np.zeros((48, 64, 3), np.uint8),
        "a grey picture": np.full((48, 64, 3), 128, np.uint8),
    }
    pictures = {name: Picture.of(pixels) for name, pixels in made.items()} | ({"the photo": photo} if photo else {})
    prepared = {name: preprocess(picture, spec.rule)[0] for name, picture in pictures.items()}
    yield from prepared.items()
    for name in ("a picture of colours", "a made landscape", "the photo"):
        if name in prepared:
            yield f"{name} mirrored", np.ascontiguousarray(prepared[name][:, ::-1])


def _landscape() -> NDArray[np.uint8]:
    """A picture (96, 128, 3) with the statistics of photos: the finer a detail, the weaker."""
    rng = np.random.default_rng(1)
    height, width = 96, 128
    distance = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    distance[0, 0] = 1
    waves = np.fft.fft2(rng.normal(size=(3, height, width))) / distance  # (3, H, W)
    light = np.fft.ifft2(waves).real
    light = light[:1] + 0.4 * light[1:2] * np.array([1, 0, -1])[:, None, None]  # grey, tinted
    levels: NDArray[np.float64] = 128 + 50 * (light - light.mean()) / light.std()
    return levels.transpose(1, 2, 0).clip(0, 255).astype(np.uint8)


def _is_finite(answer: Answer) -> bool:
    return all(bool(np.isfinite(values).all()) for values in answer.values() if values.dtype.kind == "f")


def _check_repeatable(first: Answer, second: Answer) -> None:
    """Raise StartupError if the answers for one picture differ by more than rounding."""
    for name, values in first.items():
        other = second[name]
        if values.shape != other.shape or not _difference(values, other) <= _SAME_HALF:
            msg = (
                "it answers the same picture differently each time, so it has random nodes, such as a Dropout that is "
                "still at work; export it in evaluation mode (in PyTorch model.eval())"
            )
            raise StartupError(msg)


def _compare(
    network: Network, spec: InputSpec, tensors: Mapping[str, NDArray[np.uint8]], alone: Mapping[str, Answer]
) -> Finding:
    """Raise StartupError if the original file answers differently than after its conversion."""
    feeding = GraphSession(preprocessing_graph(network.model, spec).SerializeToString())
    original = GraphSession(network.before_conversion or b"")
    for picture, tensor in tensors.items():
        fed = feeding.run({INPUT: tensor[None]})
        inputs = {name.removeprefix(output_name("")): values for name, values in fed.items()}
        before = original.run(inputs)
        for name, values in before.items():
            after = alone[picture].get(output_name(name))
            away = np.inf if after is None or after.shape != values.shape else _difference(values, after)
            if not away <= (_SAME_HALF if values.dtype == np.float16 else _SAME):
                msg = (
                    f"it is of opset {network.opset}, and converted to {OLDEST_OPSET} its output {name} is off by "
                    f"{away:.2g} of the largest value for {picture}; export it with opset {OLDEST_OPSET} or newer"
                )
                raise StartupError(msg)
    text = f"{network.opset}, converted to {OLDEST_OPSET}: the same answers for {len(tensors)} pictures"
    return Finding("opset", text)


def _difference(wanted: NDArray[np.generic], found: NDArray[np.generic]) -> float:
    """The largest difference, relative to the largest value, or to 1."""
    wide, other = wanted.astype(np.float64), found.astype(np.float64)
    return float(np.abs(wide - other).max(initial=0)) / max(1.0, float(np.abs(wide).max(initial=0)))


def _batch(
    graph: GraphSession, spec: InputSpec, tensors: Sequence[NDArray[np.uint8]], alone: Sequence[Answer]
) -> tuple[InputSpec, Finding]:
    if spec.one_by_one:
        text = (
            "1: the graph computes the pictures of a batch one after the other; export it with an open batch if you can"
        )
        return spec, Finding("batch", text)
    if _goes_together(graph, tensors[:_TOGETHER], alone[:_TOGETHER]):
        return spec, Finding("batch", "open")
    text = "open, but pictures together are answered otherwise than alone: they are computed one after the other"
    return replace(spec, one_by_one=True), Finding("batch", text)


def _goes_together(graph: GraphSession, tensors: Sequence[NDArray[np.uint8]], alone: Sequence[Answer]) -> bool:
    try:
        together = graph.run({INPUT: np.stack(tensors)})
    except StartupError:
        return False
    for name, values in together.items():
        wanted = [answer[name] for answer in alone]
        if any(value.shape[:1] != (1,) or value.shape[1:] != values.shape[1:] for value in wanted):
            return False
        expected = np.concatenate(wanted).astype(np.float64)
        if expected.shape != values.shape:
            return False
        allowed = 0.01 * max(1.0, float(np.abs(expected).max(initial=0)))
        if not np.abs(values.astype(np.float64) - expected).max(initial=0) <= allowed:
            return False
    return True
