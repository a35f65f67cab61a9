"""A small network with the raw head of YOLOX, and what it finds in a picture, by NumPy alone."""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper
from PIL import Image as PillowImage

from tests.onnx_import.networks import write_network
from tests.onnx_import.reference import Found, overlap

SIDE = 64
CLASSES = 3
THRESHOLD = 0.3  # the server's defaults
OVERLAP = 0.45
_FEATURES = 5 + CLASSES
_BIAS = np.array([0.5, 0.5, -0.4, -0.4] + [0] * (_FEATURES - 4), np.float32)


def _kernels(strides: tuple[int, ...]) -> dict[int, NDArray[np.float32]]:
    """For each stride, of channels B, G, R in 0..255: (8, 3, s, s)."""
    rng = np.random.default_rng(5)
    reach = np.array([0.5, 0.5, 0.3, 0.3, 3, 3, 3, 3]).reshape(_FEATURES, 1, 1, 1)
    kernels = {s: reach * rng.normal(0, 1 / s / 60, (_FEATURES, 3, s, s)) for s in strides}
    return {s: (kernel - kernel.mean((1, 2, 3), keepdims=True)).astype(np.float32) for s, kernel in kernels.items()}


def write_yolox(
    path: Path, *, strides: tuple[int, ...] = (8, 16, 32), form: Literal["raw", "pixel", "fraction"] = "raw"
) -> Path:
    """``output`` (1, A, 5 + 3) of an input (1, 3, 64, 64): raw, or decoded to cxcywh in pixels or in fractions."""
    nodes: list[NodeProto] = []
    constants: dict[str, NDArray[np.generic]] = {"flat": np.array([0, _FEATURES, -1]), "bias": _BIAS}
    for stride, kernel in _kernels(strides).items():
        text = f"{stride} "
        constants[text + "kernel"] = kernel
        nodes += [
            helper.make_node("Conv", ["x", text + "kernel", "bias"], [text + "map"], strides=[stride, stride]),
            helper.make_node("Reshape", [text + "map", "flat"], [text + "flat"]),
        ]
    nodes += [
        helper.make_node("Concat", [f"{stride} flat" for stride in strides], ["all"], axis=2),
        helper.make_node("Transpose", ["all"], ["rows"], perm=[0, 2, 1]),
        helper.make_node("Split", ["rows", "parts"], ["centres", "sizes", "logits"], axis=2),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
    ]
    constants["parts"] = np.array([2, 2, _FEATURES - 4])
    boxes = ["centres", "sizes"]
    if form != "raw":
        cells = _cells(strides)
        constants |= {
            "cells": cells[:, :2],
            "strides": cells[:, 2:] / np.float32(SIDE if form == "fraction" else 1),
        }
        nodes += [
            helper.make_node("Add", ["centres", "cells"], ["moved"]),
            helper.make_node("Mul", ["moved", "strides"], ["where"]),
            helper.make_node("Exp", ["sizes"], ["grown"]),
            helper.make_node("Mul", ["grown", "strides"], ["wide"]),
        ]
        boxes = ["where", "wide"]
    nodes.append(helper.make_node("Concat", [*boxes, "scores"], ["output"], axis=2))
    rows = sum((SIDE // stride) ** 2 for stride in strides)
    return write_network(path, nodes, constants, [1, 3, SIDE, SIDE], {"output": [1, rows, _FEATURES]})


def _cells(strides: tuple[int, ...]) -> NDArray[np.float32]:
    """Column, row, stride."""
    rows = [(column, row, s) for s in strides for row in range(SIDE // s) for column in range(SIDE // s)]
    return np.array(rows, np.float32)


def found_in(picture: NDArray[np.uint8], strides: tuple[int, ...] = (8, 16, 32)) -> list[Found]:
    """Objects in a picture (H, W, 3), best first, in its pixels: fed and decoded as YOLOX documents it."""
    height, width = picture.shape[:2]
    share = SIDE / max(width, height)
    wide, high = round(width * share), round(height * share)
    tensor = np.full((SIDE, SIDE, 3), 114, np.uint8)
    resized = PillowImage.fromarray(picture).resize((wide, high), PillowImage.Resampling.BILINEAR)
    tensor[:high, :wide] = np.asarray(resized)
    back = np.array([width / wide, height / high] * 2)
    limit = np.array([width, height] * 2)
    found: list[Found] = []
    for stride, kernel in _kernels(strides).items():
        for row in range(SIDE // stride):
            for column in range(SIDE // stride):
                patch = tensor[row * stride :, column * stride :][:stride, :stride, ::-1].astype(np.float64)
                raw = np.einsum("yxc,kcyx->k", patch, kernel) + _BIAS
                scores = _sigmoid(raw[4]) * _sigmoid(raw[5:])
                centre = np.add(raw[:2], (column, row)) * stride
                half = np.exp(raw[2:4]) * stride / 2
                box = np.concatenate([centre - half, centre + half]).clip(0, SIDE) * back
                corners = tuple(np.minimum(box, limit).tolist())
                if corners[0] < corners[2] and corners[1] < corners[3]:  # it has an area in the picture
                    found += [Found(label, float(score), corners) for label, score in enumerate(scores)]
    kept: list[Found] = []
    for candidate in sorted((one for one in found if one.score >= THRESHOLD), key=lambda one: -one.score):
        rivals = [other for other in kept if other.label == candidate.label]
        if all(overlap(candidate.box, rival.box) <= OVERLAP for rival in rivals):
            kept.append(candidate)
    return kept


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = 1 / (1 + np.exp(-values))
    return result
