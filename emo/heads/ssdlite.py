"""SSDLite (arXiv 1801.04381, section 6.2) on top of EMO: neck, head, decoding."""

from typing import Any

import torch
from torch import Tensor, nn

from emo.anchors import ANCHORS_PER_CELL, SIZES, decode_boxes, grid_anchors
from emo.backbone import EMO, EMOConfig
from emo.layers import ConvNorm
from emo.neck import EXTRA_WIDTHS, SSDNeck

SIZES_KEY = "anchor_sizes"


class SSDHead(nn.Module):
    """One depthwise-separable predictor a level, for class logits and for box deltas."""

    def __init__(self, widths: tuple[int, ...], num_classes: int) -> None:
        """``num_classes`` without background, which gets the last column."""
        super().__init__()
        self.columns = num_classes + 1
        self.classify = nn.ModuleList(_predictor(width, self.columns) for width in widths)
        self.regress = nn.ModuleList(_predictor(width, 4) for width in widths)

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Class logits (N, A, num_classes + 1) and box deltas (N, A, 4), level by level, row by row."""
        logits = [_flatten(layer(x), self.columns) for layer, x in zip(self.classify, maps, strict=True)]
        deltas = [_flatten(layer(x), 4) for layer, x in zip(self.regress, maps, strict=True)]
        return torch.cat(logits, 1), torch.cat(deltas, 1)


class SSDLite(nn.Module):
    """A detector of small cost; at 320 x 320 pixels it has 3,234 anchors on six levels."""

    def __init__(self, config: EMOConfig, num_classes: int, anchor_sizes: tuple[int, ...] = SIZES) -> None:
        """The stages 3 and 4 of the backbone (strides 16 and 32) feed the neck; there is no final norm.

        ``anchor_sizes`` are seven rising sides in pixels, as ``emo.anchors.SIZES``; else a ValueError is raised.
        """
        super().__init__()
        if len(anchor_sizes) != len(SIZES) or list(anchor_sizes) != sorted(set(anchor_sizes)) or anchor_sizes[0] < 1:
            msg = f"anchor sizes {anchor_sizes}: wants {len(SIZES)} rising sides in pixels, as {SIZES}"
            raise ValueError(msg)
        self.sizes = anchor_sizes
        # no weight, but the boxes of a state dict mean nothing without it
        self.register_buffer(SIZES_KEY, torch.tensor(anchor_sizes))
        self.register_load_state_dict_pre_hook(_check_sizes)  # type: ignore[no-untyped-call]
        self.num_classes = num_classes
        self.backbone = EMO(config, window=config.detection_window)
        self.neck = SSDNeck(config.widths[3])
        self.head = SSDHead((config.widths[2], config.widths[3], *EXTRA_WIDTHS), num_classes)
        for module in (*self.neck.modules(), *self.head.modules()):
            if isinstance(module, nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=0.03)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def raw(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Anchors (A, 4), class logits (N, A, num_classes + 1) and box deltas (N, A, 4): what training needs."""
        maps = self.neck(self.backbone(x)[3:])
        logits, deltas = self.head(maps)
        anchors = grid_anchors([(level.shape[2], level.shape[3]) for level in maps], self.sizes)
        return anchors.to(x.device), logits, deltas

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W), normalised -> ``boxes`` (N, A, 4), xyxy in input pixels, clipped, and ``scores`` (N, A, C).

        The scores are in [0, 1]; with the background, which is left out, those of an anchor sum to 1.
        """
        return self.decode(self.raw(x), x.shape[2], x.shape[3])

    def decode(self, raw: tuple[Tensor, Tensor, Tensor], height: int, width: int) -> tuple[Tensor, Tensor]:
        """What ``forward`` gives, of what ``raw`` gives for an input of that size in pixels."""
        anchors, logits, deltas = raw
        return decode_boxes(anchors, deltas, height, width), logits.softmax(-1)[..., :-1]


def _check_sizes(model: SSDLite, state: dict[str, Any], prefix: str, *others: Any) -> None:  # noqa: ANN401  # PyTorch's
    """Take files without anchor sizes, and none with others than the model's."""
    *_, errors = others
    found = tuple(state.setdefault(prefix + SIZES_KEY, torch.tensor(model.sizes)).tolist())
    if found != model.sizes:
        errors.append(f"the anchor sizes are {found}, and those of the model {model.sizes}")


def _predictor(width: int, columns: int) -> nn.Sequential:
    return nn.Sequential(ConvNorm(width, width, 3, groups=width), nn.Conv2d(width, ANCHORS_PER_CELL * columns, 1))


def _flatten(x: Tensor, columns: int) -> Tensor:
    """(N, anchors * columns, H, W) -> (N, H * W * anchors, columns)."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, columns)
