"""SSDLite (arXiv 1801.04381, section 6.2) on top of EMO: neck, head, decoding."""

from typing import Any

import torch
from torch import Tensor, nn

from emo.models.anchors import (
    ANCHORS_PER_CELL,
    FINE_ANCHORS_PER_CELL,
    SIZES,
    decode_boxes,
    grid_anchors,
    has_fine_level,
)
from emo.models.backbone import EMO, EMOConfig
from emo.models.layers import ConvNorm, DepthwiseConv2d
from emo.models.neck import EXTRA_WIDTHS, FineMap, SSDNeck

SIZES_KEY = "anchor_sizes"


class SSDHead(nn.Module):
    """One depthwise-separable predictor a level, for class logits and for box deltas."""

    def __init__(self, widths: tuple[int, ...], num_classes: int, fine_width: int | None = None) -> None:
        """``num_classes`` without background, which gets the last column; a last level may be finer."""
        super().__init__()
        self.columns = num_classes + 1
        levels = [(width, ANCHORS_PER_CELL) for width in widths]
        if fine_width:
            levels.append((fine_width, FINE_ANCHORS_PER_CELL))
        self.classify = nn.ModuleList(_predictor(width, anchors * self.columns) for width, anchors in levels)
        self.regress = nn.ModuleList(_predictor(width, anchors * 4) for width, anchors in levels)

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Class logits (N, A, num_classes + 1) and box deltas (N, A, 4), level by level, row by row."""
        logits = [_flatten(layer(x), self.columns) for layer, x in zip(self.classify, maps, strict=True)]
        deltas = [_flatten(layer(x), 4) for layer, x in zip(self.regress, maps, strict=True)]
        return torch.cat(logits, 1), torch.cat(deltas, 1)


class SSDLite(nn.Module):
    """A detector of small cost; at 320 x 320 pixels it has 3,234 anchors on six levels.

    A seventh, of stride 8, is for small objects and has 6,400 more.
    """

    def __init__(self, config: EMOConfig, num_classes: int, anchor_sizes: tuple[int, ...] = SIZES) -> None:
        """The stages 3 and 4 of the backbone (strides 16 and 32) feed the neck; there is no final norm.

        ``anchor_sizes`` are seven rising sides in pixels, as ``anchors.SIZES``, or eight for a level of stride 8 as
        well; else a ValueError is raised.
        """
        super().__init__()
        known = len(anchor_sizes) in {len(SIZES), len(SIZES) + 1}
        if not known or list(anchor_sizes) != sorted(set(anchor_sizes)) or anchor_sizes[0] < 1:
            msg = (
                f"anchor sizes {anchor_sizes}: wants {len(SIZES)} rising sides in pixels, as {SIZES}, or one more in "
                "front for a level of stride 8"
            )
            raise ValueError(msg)
        fine_width = config.widths[1] if has_fine_level(anchor_sizes) else None
        self.sizes = anchor_sizes
        # not a weight, but box predictions depend on it
        self.register_buffer(SIZES_KEY, torch.tensor(anchor_sizes))
        self.register_load_state_dict_pre_hook(_check_sizes)  # type: ignore[no-untyped-call]
        self.num_classes = num_classes
        self.backbone = EMO(config, window=config.detection_window)
        self.neck = SSDNeck(config.widths[3])
        self.fine = FineMap(config.widths[2], fine_width) if fine_width else None
        self.head = SSDHead((config.widths[2], config.widths[3], *EXTRA_WIDTHS), num_classes, fine_width)
        fine = self.fine.modules() if self.fine else ()
        for module in (*self.neck.modules(), *fine, *self.head.modules()):
            if isinstance(module, nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=0.03)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def raw(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Anchors (A, 4), class logits (N, A, num_classes + 1) and box deltas (N, A, 4), for training."""
        features = self.backbone(x)
        maps = self.neck(features[3:])
        if self.fine is not None:
            maps.append(self.fine(features[2], features[3]))
        logits, deltas = self.head(maps)
        anchors = grid_anchors([(level.shape[2], level.shape[3]) for level in maps], self.sizes)
        return anchors.to(x.device), logits, deltas

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W), normalised -> ``boxes`` (N, A, 4), xyxy in input pixels, clipped, and ``scores`` (N, A, C).

        The scores are in [0, 1]; with the background, which is left out, those of an anchor sum to 1.
        """
        return self.decode(self.raw(x), x.shape[2], x.shape[3])

    def decode(self, raw: tuple[Tensor, Tensor, Tensor], height: int, width: int) -> tuple[Tensor, Tensor]:
        """The result of ``forward`` from that of ``raw``, for an input of that size in pixels."""
        anchors, logits, deltas = raw
        return decode_boxes(anchors, deltas, height, width), logits.softmax(-1)[..., :-1]


def _check_sizes(model: SSDLite, state: dict[str, Any], prefix: str, *others: Any) -> None:  # noqa: ANN401  # PyTorch's
    """Accept state dicts without anchor sizes, and none with others than the model's."""
    *_, errors = others
    found = tuple(state.setdefault(prefix + SIZES_KEY, torch.tensor(model.sizes)).tolist())
    if found != model.sizes:
        errors.append(f"the anchor sizes are {found}, and those of the model {model.sizes}")


def _predictor(width: int, columns: int) -> nn.Sequential:
    return nn.Sequential(ConvNorm(DepthwiseConv2d(width, 3)), nn.Conv2d(width, columns, 1))


def _flatten(x: Tensor, columns: int) -> Tensor:
    """(N, anchors * columns, H, W) -> (N, H * W * anchors, columns)."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, columns)
