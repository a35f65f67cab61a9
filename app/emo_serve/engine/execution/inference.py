"""One batch through a session, as an inference thread does it."""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emo_serve.engine.execution.session import Outputs, Session
from emo_serve.errors import InferenceFailed


@dataclass(frozen=True, slots=True)
class Inference:
    """The outputs (N, ...) of a batch, and when (``time.perf_counter()``) and how long it ran."""

    outputs: Outputs
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
    return Inference(outputs, started_at, time.perf_counter() - started_at)


def _check_count(outputs: Outputs, count: int) -> None:
    counts = {name: len(values) for name, values in outputs.items()}
    if set(counts.values()) != {count}:
        msg = f"{count} images went in, but the outputs came with the lengths {counts}"
        raise InferenceFailed(msg)
