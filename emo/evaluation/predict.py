"""Networks as functions of a batch of pictures, whatever runs them."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from emo.models.heads.classifier import Classifier
from emo.training.augment import normalise

# Official builds of ONNX Runtime send usage data unless this is set before they are loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

Predict = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], ...]]
"""(N, H, W, 3) -> (scores (N, C),) of a classifier, (boxes (N, A, 4), scores (N, A, C)) of a detector, (logits
(N, C, h, w),) of a segmenter."""


def torch_predict(model: nn.Module) -> Predict:
    """Predict with a PyTorch model on the device where it is; what the exported graph adds to it is done here."""
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
    """The same, which adds the first output of every batch to ``first_outputs``."""

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
