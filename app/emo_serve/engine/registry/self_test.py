"""The proof, before a model serves, that it still answers here as it did where it was exported."""

import math
import time

import numpy as np

from emo_serve.engine.execution.pipeline import prepare
from emo_serve.engine.execution.session import Outputs, Session
from emo_serve.engine.repository.artefacts import Artefact
from emo_serve.errors import SelfTestFailed, ServiceError
from emo_serve.manifest import GoldenOutput
from emo_serve.vision.image import ImageLimits


def self_test(
    artefact: Artefact, session: Session, limits: ImageLimits, max_batch_size: int, *, times: int = 2
) -> dict[int, float]:
    """Check the golden pair alone and in a full batch, each twice, which also warms the session up.

    In the first run of a size ONNX Runtime plans its memory, and takes what was planned from the second on: so a server
    has grown to its size before it is asked, and does not when many ask. Gives the seconds of the quicker run of each
    size. Raises SelfTestFailed, which names the file, the output and how far it is off.
    """
    quickest: dict[int, float] = {}
    try:
        tensor = prepare(artefact.manifest.golden.image_bytes(), limits, artefact.manifest.preprocessing).tensor
    except (ServiceError, ValueError) as error:
        msg = f"{artefact.model_path}: the golden image cannot be prepared: {error}"
        raise SelfTestFailed(msg) from error
    for size in times * sorted({1, max_batch_size}):
        batch = np.repeat(tensor[None], size, axis=0)  # (H, W, 3) -> (size, H, W, 3)
        began = time.perf_counter()
        try:
            outputs = session.run(batch)
        except Exception as error:
            msg = f"{artefact.model_path}: the model fails on {size} golden image(s): {error}"
            raise SelfTestFailed(msg) from error
        quickest[size] = min(quickest.get(size, math.inf), time.perf_counter() - began)
        for golden in artefact.manifest.golden.outputs:
            _check(artefact, outputs, golden, size)
    return quickest


def _check(artefact: Artefact, outputs: Outputs, golden: GoldenOutput, size: int) -> None:
    where = f"{artefact.model_path}: output {golden.name!r} of the golden image in a batch of {size}"
    if golden.name not in outputs or len(outputs[golden.name]) != size:
        msg = f"{where} is missing"
        raise SelfTestFailed(msg)
    rows = outputs[golden.name].reshape(size, -1)
    if max(golden.indices) >= rows.shape[1] or min(golden.indices) < 0:
        msg = f"{where} has {rows.shape[1]} values, but the manifest compares one with index {max(golden.indices)}"
        raise SelfTestFailed(msg)
    difference = np.abs(rows[:, golden.indices] - np.asarray(golden.values, np.float32))
    if not difference.max() <= golden.tolerance:  # also catches NaN
        msg = (
            f"{where} is off by up to {difference.max():.3g}, allowed is {golden.tolerance:.3g}; are the channel "
            "order, mean, std and resizing those of the export?"
        )
        raise SelfTestFailed(msg)
