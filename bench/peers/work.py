"""The work of every peer: a JPEG -> the five best classes, as its users would write it.

``BENCH_MODEL`` is an ONNX file that takes normalised float32 (N, 3, 224, 224) and gives logits. With
``BENCH_PIXELS=served`` it is the graph that emo-serve serves, which takes uint8 (N, 224, 224, 3) and gives scores, and
only what the crop needs is resized; it is decoded and resized by the functions that emo-serve has for that.
"""

import io
import os

import numpy as np
import onnxruntime
from PIL import Image

SIDE, SHORT, BEST = 224, 256, 5
MEAN = np.array([123.675, 116.28, 103.53], np.float32)
STD = np.array([58.395, 57.12, 57.375], np.float32)
SERVED = os.environ.get("BENCH_PIXELS") == "served"
if SERVED:  # else a peer does not load it: its memory and its start are measured too
    from emo_serve.vision.jpeg import decode_jpeg, read_jpeg
    from emo_serve.vision.resize import resize
PORT = int(os.environ.get("PORT", "8000"))


def prepare(image: bytes | Image.Image) -> np.ndarray:
    """One image, as a file or opened already, as the graph wants it, without the batch axis."""
    image = _decoded(image).convert("RGB")
    width, height = image.size
    short = min(width, height)
    new_width, new_height = int(SHORT * width / short), int(SHORT * height / short)
    left, top = round((new_width - SIDE) / 2), round((new_height - SIDE) / 2)
    if SERVED:
        x, y = width / new_width, height / new_height
        box = (left * x, top * y, (left + SIDE) * x, (top + SIDE) * y)
        return np.asarray(resize(image, (SIDE, SIDE), Image.Resampling.BICUBIC, box))
    resized = image.resize((new_width, new_height), Image.Resampling.BICUBIC)
    pixels = np.asarray(resized.crop((left, top, left + SIDE, top + SIDE)), np.float32)
    return np.ascontiguousarray(((pixels - MEAN) / STD).transpose(2, 0, 1))


def _decoded(image: bytes | Image.Image) -> Image.Image:
    if isinstance(image, Image.Image):
        return image
    return decode_jpeg(image, read_jpeg(image), 1) if SERVED else Image.open(io.BytesIO(image))


class Network:
    """A session with one thread, as two of them share two cores."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(os.environ["BENCH_MODEL"], options, ["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def __call__(self, batch: np.ndarray) -> list[dict[str, list[dict[str, float]]]]:
        """The answer for each image of a batch."""
        scores = self._session.run(None, {self._input: batch})[0]
        if not SERVED:
            scores = np.exp(scores - scores.max(1, keepdims=True))
            scores /= scores.sum(1, keepdims=True)
        best = np.argsort(-scores, 1)[:, :BEST]
        return [
            {"classes": [{"label": int(label), "score": round(float(row[label]), 6)} for label in labels]}
            for row, labels in zip(scores, best, strict=True)
        ]
