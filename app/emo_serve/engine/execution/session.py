"""One loaded model that turns batches into outputs: the Session protocol, and ONNX Runtime behind it."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from emo_serve.engine.repository.artefacts import Artefact
from emo_serve.errors import InferenceFailed, StartupError
from emo_serve.manifest import Manifest, Tensor
from emo_serve.settings import Provider, SessionOptions, Settings

# Official builds of ONNX Runtime send usage data unless this is set before they are loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

RUNTIME_VERSION: str = onnxruntime.__version__

Outputs = dict[str, NDArray[np.float32]]
"""The outputs of one run or of one image, by name."""

_DTYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}
_WARNING = 2

_PROVIDERS: Mapping[Provider, tuple[str, Mapping[str, str]]] = MappingProxyType(
    {
        "cpu": ("CPUExecutionProvider", {}),
        # What is usual would search for the fastest convolutions anew at every batch size, while requests wait, and
        # would compute them with 10 bits of mantissa: other answers than those of the CPU.
        "cuda": ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}),
    }
)


class Session(Protocol):
    """Interface of a loaded model to the executors; called from several threads at once."""

    def run(self, batch: NDArray[np.uint8]) -> Outputs:
        """Answer N images (N, H, W, 3), contiguous, with outputs (N, ...); any exception fails the whole batch."""
        ...


class OrtSession:
    """An ONNX Runtime session, shared by all threads: a second one would only double the memory."""

    def __init__(self, model_path: Path, manifest: Manifest, options: SessionOptions) -> None:
        """Load the model; raises StartupError, which names the file, where that fails or it is not its manifest's."""
        self._input = manifest.input.name
        self._outputs = [output.name for output in manifest.outputs]
        try:
            self._session = _open(model_path, options)
        except Exception as error:  # ONNX Runtime has no common base class for its errors
            msg = f"{model_path}: ONNX Runtime cannot load it: {error}"
            raise StartupError(msg) from error
        _check(model_path, self._session.get_inputs(), (manifest.input,))
        _check(model_path, self._session.get_outputs(), manifest.outputs)

    def run(self, batch: NDArray[np.uint8]) -> Outputs:
        """Answer N images (N, H, W, 3) with the manifest's outputs (N, ...); raises InferenceFailed unless finite."""
        outputs = dict(zip(self._outputs, self._session.run(self._outputs, {self._input: batch}), strict=True))
        for name, values in outputs.items():
            if not np.isfinite(values).all():
                msg = f"output {name!r} holds NaN or infinity"
                raise InferenceFailed(msg)
        return outputs


class GraphSession:
    """An ONNX Runtime session of a graph that has no manifest yet."""

    def __init__(self, graph: bytes) -> None:
        """Load it; raises StartupError where that fails."""
        try:
            self._session = _open(graph, SessionOptions())
        except Exception as error:  # ONNX Runtime has no common base class for its errors
            msg = f"ONNX Runtime cannot load it: {error}"
            raise StartupError(msg) from error
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """Numeric outputs by name; raises StartupError if the run fails."""
        try:
            answers = zip(self._outputs, self._session.run(self._outputs, dict(inputs)), strict=True)
        except Exception as error:  # as above
            msg = f"ONNX Runtime cannot run it: {error}"
            raise StartupError(msg) from error
        return {name: value for name, value in answers if isinstance(value, np.ndarray) and value.dtype.kind in "fiub"}


def _open(graph: Path | bytes, options: SessionOptions) -> onnxruntime.InferenceSession:
    """A session on the provider that is asked for, or an error.

    ONNX Runtime itself would say in its log that there is no GPU, and go on with the CPU at a fraction of the speed.
    """
    name, provider_options = _PROVIDERS[options.provider]
    available = onnxruntime.get_available_providers()
    if name not in available:
        msg = f"it has no {name} here, only {', '.join(available)}; its package with CUDA is onnxruntime-gpu"
        raise StartupError(msg)
    if options.provider == "cuda":
        onnxruntime.preload_dlls()  # CUDA itself, where NVIDIA's packages for Python have it
    session = onnxruntime.InferenceSession(graph, _ort_options(options), providers=[(name, dict(provider_options))])
    if session.get_providers()[0] != name:
        msg = f"{name} could not be started; what is missing, a driver, a GPU or a library, is said before this"
        raise StartupError(msg)
    return session


def _ort_options(options: SessionOptions) -> onnxruntime.SessionOptions:
    ort = onnxruntime.SessionOptions()
    ort.intra_op_num_threads = options.threads
    ort.inter_op_num_threads = 1
    ort.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    ort.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    ort.enable_cpu_mem_arena = True
    ort.log_severity_level = _WARNING
    # Spinning threads take the cores that decoding needs.
    ort.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort


def _check(model_path: Path, nodes: list[Any], tensors: tuple[Tensor, ...]) -> None:
    """Raise StartupError unless the graph's tensors are the manifest's, the batch being free."""
    found = {node.name: (_DTYPES.get(node.type, node.type), tuple(node.shape)) for node in nodes}
    for tensor in tensors:
        if tensor.name not in found:
            msg = f"{model_path}: the graph has no tensor {tensor.name!r}, only {sorted(found)}"
            raise StartupError(msg)
        dtype, shape = found.pop(tensor.name)
        # ONNX Runtime gives a free dimension as its name, or as None; only the batch is free in a manifest.
        normal = tuple(size if isinstance(size, int) else -1 for size in shape)
        if (dtype, normal) != (tensor.dtype, tensor.shape):
            msg = (
                f"{model_path}: tensor {tensor.name!r} is {dtype} {normal} in the graph but "
                f"{tensor.dtype} {tensor.shape} in the manifest"
            )
            raise StartupError(msg)
    if found:
        msg = f"{model_path}: the graph has tensors that the manifest does not name: {sorted(found)}"
        raise StartupError(msg)


OpenSession = Callable[[Artefact, Settings], Session]


def open_session(artefact: Artefact, settings: Settings) -> Session:
    """The artefact's model in ONNX Runtime; raises StartupError."""
    return OrtSession(artefact.model_path, artefact.manifest, settings.session)


@dataclass(frozen=True, slots=True)
class Run:
    """One image's part of a run of the model: its rows of the outputs, without the batch axis, and its times.

    ``started_at`` is ``time.perf_counter()``; ``batch_size`` images were run together.
    """

    outputs: Outputs
    queue_seconds: float
    started_at: float
    infer_seconds: float
    batch_size: int = 1


@dataclass(frozen=True, slots=True)
class Inference:
    """The outputs of each image of a batch, and when (``time.perf_counter()``) and how long it ran."""

    outputs: list[Outputs]
    started_at: float
    seconds: float


def infer(session: Session, tensors: list[NDArray[np.uint8]]) -> Inference:
    """Run N images (H, W, 3) as one batch; whatever goes wrong is an InferenceFailed."""
    started_at = time.perf_counter()
    try:
        batch = tensors[0][None] if len(tensors) == 1 else np.stack(tensors)  # N x (H, W, 3) -> (N, H, W, 3)
        outputs = session.run(batch)
        _check_count(outputs, len(tensors))
    except BaseException as error:
        # BaseException: a future cannot hold StopIteration, and SystemExit must not end the server.
        msg = "the model failed on this image"
        raise InferenceFailed(msg) from error
    seconds = time.perf_counter() - started_at
    rows = [{name: values[row] for name, values in outputs.items()} for row in range(len(tensors))]
    return Inference(rows, started_at, seconds)


def _check_count(outputs: Outputs, count: int) -> None:
    counts = {name: len(values) for name, values in outputs.items()}
    if set(counts.values()) != {count}:
        msg = f"{count} images went in, but the outputs came with the lengths {counts}"
        raise InferenceFailed(msg)
