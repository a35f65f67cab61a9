"""Preprocessing of pictures: as tensors in training, and as described by the manifest in serving."""

import torch
from torch import Tensor

from emo_serve.manifest import Preprocessing

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
"""ImageNet's mean and standard deviation, in 0..255."""


def normalise(images: Tensor) -> Tensor:
    """uint8 or float (N, H, W, 3) in 0..255 -> float32 (N, 3, H, W), zero mean and unit variance on ImageNet."""
    scaled = (images.float() - images.new_tensor(MEAN, dtype=torch.float32)) / images.new_tensor(
        STD, dtype=torch.float32
    )
    return scaled.permute(0, 3, 1, 2)  # (N, H, W, C) -> (N, C, H, W), channels last in memory


def classifier_preprocessing(side: int) -> Preprocessing:
    """The preprocessing of a classifier that was trained here, with an input of ``side`` pixels."""
    return Preprocessing(
        mode="crop", height=side, width=side, resize=side, interpolation="bilinear", mean=MEAN, std=STD
    )


def detector_preprocessing(side: int) -> Preprocessing:
    """The preprocessing of a detector that was trained here, with an input of ``side`` pixels."""
    return Preprocessing(mode="stretch", height=side, width=side, interpolation="bilinear", mean=MEAN, std=STD)


def authors_preprocessing(architecture: str, side: int | None = None) -> Preprocessing:
    """Preprocessing of the authors' tests of this architecture, at their input side or another (pixels).

    RetinaNet is tested with pictures of up to 1333 x 800 pixels, which has no counterpart in a fixed input: they are
    fitted into 800 x 800.
    """
    match architecture.rpartition("emo_")[0]:
        case "":
            preprocessing = classifier_preprocessing(side or 224)
            return Preprocessing.model_validate(
                preprocessing.model_dump() | {"interpolation": "bicubic", "resize": round(preprocessing.height / 0.875)}
            )
        case "ssdlite_":
            return detector_preprocessing(side or 320)
        case "retinanet_":
            return detector_preprocessing(side or 800).model_copy(update={"mode": "fit"})
    return detector_preprocessing(side or 512).model_copy(update={"mode": "fit"})
