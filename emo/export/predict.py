"""Networks as functions of a batch of pictures, for any runtime."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from emo.models.heads.classifier import Classifier
from emo.models.preprocessing import normalise

# Official builds of ONNX Runtime send usage data unless this is set before import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

Predict = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], ...]]
"""(N, H, W, 3) -> (scores (N, C),) of a classifier, (boxes (N, A, 4), scores (N, A, C)) of a detector, (logits
(N, C, h, w),) of a segmenter."""


def torch_predict(model: nn.Module) -> Predict:
    """Predict with a PyTorch model on its device, including the steps that the exported graph adds."""
    device = next(model.parameters()).device

    def predict(images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        with torch.no_grad():
            outputs = model(normalise(torch.from_numpy(images).to(device)))
            if isinstance(model, Classifier):
                outputs = outputs.softmax(-1)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return tuple(output.cpu().numpy() for output in outputs)

    return predict


def watched(predict: Predict, first_outputs: list[NDArray[np.float32]]) -> Predict:
    """A wrapper of ``predict`` that also appends the first output of every batch to ``first_outputs``."""

    def watch(images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        outputs = predict(images)
        first_outputs.append(outputs[0])
        return outputs

    return watch


def onnx_predict(path: Path) -> Predict:
    """Predict with an exported ONNX file."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def predict(images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        return tuple(session.run(None, {name: images}))

    return predict
