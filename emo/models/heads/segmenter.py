"""Semantic segmentation on top of EMO: DeepLabv3 (arXiv 1706.05587) and PSPNet (arXiv 1612.01105)."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from emo.models.backbone import EMO, EMOConfig
from emo.models.layers import ConvNormReLU

CHANNELS = 256
DILATIONS = (12, 24, 36)
POOL_SIZES = (1, 2, 3, 6)
_DROPOUT = 0.1

Head = Literal["deeplabv3", "pspnet"]


class AtrousPyramid(nn.Module):
    """Atrous spatial pyramid pooling: the map at several dilations, and its mean."""

    def __init__(self, channels: int) -> None:
        """``channels`` of the map."""
        super().__init__()
        self.mean = ConvNormReLU(channels, CHANNELS, 1)
        self.branches = nn.ModuleList([ConvNormReLU(channels, CHANNELS, 1)])
        self.branches.extend(ConvNormReLU(channels, CHANNELS, 3, dilation) for dilation in DILATIONS)
        self.bottleneck = ConvNormReLU(CHANNELS * (len(DILATIONS) + 2), CHANNELS, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, 256, H, W)."""
        mean = self.mean(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        joined: Tensor = self.bottleneck(torch.cat([mean, *(branch(x) for branch in self.branches)], 1))
        return joined


class PoolingPyramid(nn.Module):
    """Pyramid pooling: the map beside its means over grids of 1, 2, 3 and 6 cells a side."""

    def __init__(self, channels: int) -> None:
        """``channels`` of the map."""
        super().__init__()
        self.branches = nn.ModuleList(ConvNormReLU(channels, CHANNELS, 1) for _ in POOL_SIZES)
        self.bottleneck = ConvNormReLU(channels + CHANNELS * len(POOL_SIZES), CHANNELS, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, 256, H, W)."""
        parts = [x]
        for cells, branch in zip(POOL_SIZES, self.branches, strict=True):
            means = branch(functional.adaptive_avg_pool2d(x, cells))
            parts.append(functional.interpolate(means, x.shape[2:], mode="bilinear", align_corners=False))
        joined: Tensor = self.bottleneck(torch.cat(parts, 1))
        return joined


class Predictor(nn.Module):
    """A module that mixes the pixels of a map, dropout, and a 1x1 convolution to the classes."""

    def __init__(self, mix: AtrousPyramid | PoolingPyramid | ConvNormReLU, num_classes: int) -> None:
        """``mix`` gives 256 channels."""
        super().__init__()
        self.mix = mix
        self.dropout = nn.Dropout2d(_DROPOUT)
        self.classify = nn.Conv2d(CHANNELS, num_classes, 1)
        nn.init.normal_(self.classify.weight, std=0.01)
        nn.init.zeros_(self.classify.bias)  # type: ignore[arg-type]  # not None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> logits (N, num_classes, H, W)."""
        logits: Tensor = self.classify(self.dropout(self.mix(x)))
        return logits


class Segmenter(nn.Module):
    """Class logits for each cell of 32 x 32 pixels; between the cells they are interpolated."""

    def __init__(self, config: EMOConfig, num_classes: int, head: Head) -> None:
        """The head reads stage 4 (stride 32); an auxiliary one, which only training uses, stage 3 (stride 16)."""
        super().__init__()
        self.num_classes = num_classes
        self.backbone = EMO(config, window=config.segmentation_window)
        mix = AtrousPyramid if head == "deeplabv3" else PoolingPyramid
        self.head = Predictor(mix(config.widths[3]), num_classes)
        self.auxiliary = Predictor(ConvNormReLU(config.widths[2], CHANNELS, 3), num_classes)

    def raw(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the head (strides of 32 pixels) and of the auxiliary head (16), for training."""
        features = self.backbone(x)
        return self.head(features[4]), self.auxiliary(features[3])

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W), normalised -> logits (N, num_classes, H / 32, W / 32), rounded up."""
        logits: Tensor = self.head(self.backbone(x)[4])
        return logits
