"""Accuracy over a validation split, with the pre- and postprocessing that serving uses.

One code path serves a PyTorch model and an ONNX file: both are a ``Predict``.
"""

import contextlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import nn
from tqdm import tqdm

from app.manifest import DetectionDefaults, Preprocessing
from app.vision.detect import select_detections
from app.vision.picture import Picture
from app.vision.preprocess import preprocess
from app.vision.results import Detections, DetectParameters
from emo.augment import normalise
from emo.data import BoxedImage, BoxedImages, LabelledFiles, open_rgb

# Official builds of ONNX Runtime send usage data unless this is set before they are loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

Predict = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], ...]]
"""(N, S, S, 3) -> (scores or logits (N, C),) of a classifier, (boxes (N, A, 4), scores (N, A, C)) of a detector."""

COCO_PARAMETERS = DetectParameters(score_threshold=0.01, iou_threshold=0.45, max_detections=100)
"""A low threshold, because average precision wants the whole curve."""
_BATCH = 64


def torch_predict(model: nn.Module) -> Predict:
    """Predict with a PyTorch model on the device where it is; the input is normalised as the exported graph does it."""
    device = next(model.parameters()).device

    def predict(images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        with torch.no_grad():
            outputs = model(normalise(torch.from_numpy(images).to(device)))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return tuple(output.cpu().numpy() for output in outputs)

    return predict


def onnx_predict(path: Path) -> Predict:
    """Predict with an exported ONNX file."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def predict(images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        return tuple(session.run(None, {name: images}))

    return predict


def classification_figures(files: LabelledFiles, rule: Preprocessing, predict: Predict) -> dict[str, float]:
    """``top1`` and ``top5`` in [0, 1]."""
    hits1, hits5, total = 0, 0, len(files.files)
    tensors: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    for row, (picture, label) in enumerate(files.pictures("evaluate")):
        tensors.append(preprocess(Picture.of(np.asarray(picture)), rule)[0])
        labels.append(label)
        if len(tensors) == _BATCH or row == total - 1:
            best = np.argsort(-predict(np.stack(tensors))[0], axis=1)[:, :5]
            right = best == np.array(labels)[:, None]
            hits1 += int(right[:, 0].sum())
            hits5 += int(right.sum())
            tensors, labels = [], []
    return {"top1": hits1 / total, "top5": hits5 / total}


def detection_figures(data: BoxedImages, annotations: Path, rule: Preprocessing, predict: Predict) -> dict[str, float]:
    """COCO's ``ap50`` and ``ap`` (mean over IoU 0.5 to 0.95) in [0, 1]."""
    found: list[dict[str, Any]] = []
    for image in tqdm(data.images, "evaluate", unit="img", mininterval=2):
        tensor, geometry = preprocess(Picture.of(open_rgb(image.path)), rule)
        boxes, scores = predict(tensor[None])
        detections = select_detections(boxes[0], scores[0], geometry, COCO_PARAMETERS, DetectionDefaults(), data.names)
        found += coco_results(image, detections, data.category_ids)
    return coco_figures(annotations, found)


def coco_results(image: BoxedImage, detections: Detections, category_ids: tuple[int, ...]) -> list[dict[str, Any]]:
    """The detections of one picture as COCO's result format wants them."""
    return [
        {
            "image_id": image.image_id,
            "category_id": category_ids[label],
            "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
            "score": float(score),
        }
        for (x1, y1, x2, y2), label, score in zip(
            detections.boxes_xyxy, detections.labels, detections.scores, strict=True
        )
    ]


def coco_figures(annotations: Path, results: list[dict[str, Any]]) -> dict[str, float]:
    """``ap50`` and ``ap`` from pycocotools, and ``ap50 <category>`` for each; 0 where nothing was found."""
    if not results:
        return {"ap50": 0.0, "ap": 0.0}
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    figures = {"ap50": float(evaluation.stats[1]), "ap": float(evaluation.stats[0])}
    precision = evaluation.eval["precision"][0, :, :, 0, 2]  # IoU 0.5, (recall, category), all areas, 100 detections
    for column, category in enumerate(evaluation.params.catIds):
        figures[f"ap50 {truth.cats[category]['name']}"] = float(precision[:, column].mean())
    return figures
