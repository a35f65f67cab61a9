"""RetinaNet (arXiv 1708.02002) on top of EMO: feature pyramid, head, anchors, decoding."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from emo.models.anchors import decode_boxes
from emo.models.backbone import EMO, EMOConfig
from emo.models.neck import FeaturePyramid

STRIDES = (8, 16, 32, 64, 128)
CHANNELS = 256
ANCHORS_PER_CELL = 9
_BASE_SCALE = 4
_SCALES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
_RATIOS = (0.5, 1.0, 2.0)
_PRIOR = 0.01  # initial share of anchors that are objects (section 4.1)


class RetinaHead(nn.Module):
    """Two towers of four 3x3 convolutions, shared by all levels, for class logits and for box deltas."""

    def __init__(self, num_classes: int) -> None:
        """There is no background class: each class has a sigmoid of its own."""
        super().__init__()
        self.num_classes = num_classes
        self.classify_tower, self.regress_tower = _tower(), _tower()
        self.classify = nn.Conv2d(CHANNELS, ANCHORS_PER_CELL * num_classes, 3, padding=1)
        self.regress = nn.Conv2d(CHANNELS, ANCHORS_PER_CELL * 4, 3, padding=1)

    def forward(self, levels: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Class logits (N, A, num_classes) and box deltas (N, A, 4), level by level, row by row."""
        logits = [_flatten(self.classify(self.classify_tower(x)), self.num_classes) for x in levels]
        deltas = [_flatten(self.regress(self.regress_tower(x)), 4) for x in levels]
        return torch.cat(logits, 1), torch.cat(deltas, 1)


class RetinaNet(nn.Module):
    """A detector of higher accuracy and cost; at 512 x 512 pixels it has 49,104 anchors on five levels."""

    def __init__(self, config: EMOConfig, num_classes: int) -> None:
        """The stages 2 to 4 of the backbone (strides 8, 16, 32) feed the pyramid; there is no final norm."""
        super().__init__()
        self.num_classes = num_classes
        self.backbone = EMO(config, window=config.detection_window)
        self.neck = FeaturePyramid(config.widths[1:], CHANNELS)
        self.head = RetinaHead(num_classes)
        for module in self.neck.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
        for module in self.head.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
        for module in (*self.neck.modules(), *self.head.modules()):
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.zeros_(module.bias)
        nn.init.constant_(self.head.classify.bias, -math.log((1 - _PRIOR) / _PRIOR))  # type: ignore[arg-type]

    def raw(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Anchors (A, 4), class logits (N, A, num_classes) and box deltas (N, A, 4)."""
        levels = self.neck(self.backbone(x)[2:])
        logits, deltas = self.head(levels)
        anchors = pyramid_anchors([(level.shape[2], level.shape[3]) for level in levels])
        return anchors.to(x.device), logits, deltas

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W), normalised -> ``boxes`` (N, A, 4), xyxy in input pixels, clipped, and ``scores`` (N, A, C).

        The scores are in [0, 1], each class for itself.
        """
        anchors, logits, deltas = self.raw(x)
        return decode_boxes(anchors, deltas, x.shape[2], x.shape[3], None), logits.sigmoid()


def cell_anchors(level: int) -> Tensor:
    """(9, 4) as x1, y1, x2, y2 around the origin: height/width 1/2, 1, 2, each in three sizes a third octave apart."""
    base = _BASE_SCALE * STRIDES[level]
    sides = [
        (base * scale / math.sqrt(ratio), base * scale * math.sqrt(ratio)) for ratio in _RATIOS for scale in _SCALES
    ]
    return torch.tensor([(-w / 2, -h / 2, w / 2, h / 2) for w, h in sides])


def pyramid_anchors(map_sizes: Sequence[tuple[int, int]]) -> Tensor:
    """(A, 4) for the maps of all levels, given as (height, width); centred on the corners of cells, row by row."""
    levels = []
    for level, (height, width) in enumerate(map_sizes):
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        shift = torch.stack((x, y, x, y), -1).reshape(-1, 1, 4) * STRIDES[level]
        levels.append((shift + cell_anchors(level)).reshape(-1, 4))
    return torch.cat(levels)


def _tower() -> nn.Sequential:
    return nn.Sequential(*(nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.ReLU()) for _ in range(4)))


def _flatten(x: Tensor, columns: int) -> Tensor:
    """(N, anchors * columns, H, W) -> (N, H * W * anchors, columns)."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, columns)
