"""Graph fusion: the function of a trained model, rearranged for ONNX Runtime on CPUs.

Nothing is approximated: folding and moving give the same numbers up to rounding. Attempts and their times, including
failed ones, are in docs/graph.md.
"""

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from emo.models.backbone import EMO
from emo.models.heads.classifier import Classifier
from emo.models.heads.model import Model
from emo.models.heads.segmenter import Segmenter
from emo.models.irmb import MetaMobileBlock, WindowAttention
from emo.models.layers import ConvNorm, ConvNormReLU, LayerNorm2d
from emo.models.preprocessing import MEAN, STD

PIECE_CHANNELS = 32
"""Channels of a large expanded map per piece: 32 x 112 x 112 floats are 1.6 MB, which fit into a core's cache."""


class ServedGraph(nn.Module):
    """The exported module: normalisation, model, final activation."""

    def __init__(self, model: Model) -> None:
        """The model is copied, in eval mode."""
        super().__init__()
        self.model = copy.deepcopy(model).eval()  # otherwise BatchNorms cannot be folded
        self.mean = nn.Buffer(torch.tensor(MEAN)[:, None, None])
        _fuse_backbone(self.model.backbone)
        if isinstance(self.model, Segmenter):
            del self.model.auxiliary  # only for training
        for unit in self.model.modules():
            if isinstance(unit, ConvNorm | ConvNormReLU):
                convolution, norm, _ = cast("tuple[nn.Conv2d, nn.BatchNorm2d, nn.Module]", tuple(unit))
                folded = fuse_conv_bn_eval(convolution, norm)
                unit[0], unit[1] = ServedDilation(folded) if folded.dilation != (1, 1) else folded, nn.Identity()
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """uint8 (N, H, W, 3) -> (scores (N, C),), (boxes (N, A, 4), scores (N, A, C)) or (logits (N, C, h, w),)."""
        pixels = images.permute(0, 3, 1, 2).float() - self.mean  # (N, H, W, C) -> (N, C, H, W)
        outputs = self.model(pixels)
        if isinstance(self.model, Classifier):
            return (outputs.softmax(-1),)
        return outputs if isinstance(outputs, tuple) else (outputs,)


class ServedBlock(nn.Module):
    """A Meta Mobile Block with its BatchNorms folded, split into pieces if its expanded map is large."""

    def __init__(self, block: MetaMobileBlock) -> None:
        """The block's parts are taken over."""
        super().__init__()
        self.residual = block.residual
        self.norm = block.norm if isinstance(block.norm, LayerNorm2d) else None
        self.attention = TokenAttention(block.attention) if isinstance(block.attention, WindowAttention) else None
        expand: Any = block.expand
        if isinstance(block.norm, nn.BatchNorm2d):
            expand = nn.Sequential(fold_norm_before(block.norm, expand[0]), expand[1])
        depthwise: Any = block.convolution
        convolution, norm, activation = cast("tuple[nn.Conv2d, nn.BatchNorm2d, nn.Module]", tuple(depthwise))
        mix = nn.Sequential(fuse_conv_bn_eval(convolution, norm), activation)
        whole = Piece(expand, mix, block.squeeze_excite, block.shrink, skip=block.skip)
        # The first blocks of the stages with large maps: no attention, no residual.
        large = isinstance(block.norm, nn.BatchNorm2d) and not block.residual
        self.pieces = nn.ModuleList(whole.split(PIECE_CHANNELS) if large else [whole])

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H', W'), as the block."""
        y = x
        if self.norm is not None:
            y = y.permute(0, 2, 3, 1)  # (N, C, H, W) -> (N, H, W, C)
            y = functional.layer_norm(y, self.norm.normalized_shape, self.norm.weight, self.norm.bias, self.norm.eps)
            if self.attention is not None:
                y = self.attention(y)
            y = y.permute(0, 3, 1, 2)  # (N, H, W, C) -> (N, C, H, W)
        first, *others = self.pieces
        out: Tensor = first(y)
        for piece in others:
            out = out + piece(y)
        return x + out if self.residual else out


class Piece(nn.Module):
    """Expansion, depthwise convolution and shrinking of some of a block's expanded channels; their sum is the block's.

    Nothing between expansion and shrinking mixes channels, so one piece after another can stay in a core's cache.
    """

    def __init__(self, expand: Any, mix: Any, squeeze_excite: nn.Module, shrink: Any, *, skip: bool) -> None:  # noqa: ANN401  an nn.Sequential or nn.Identity each
        """``mix`` is the depthwise convolution with its activation."""
        super().__init__()
        self.expand, self.mix, self.squeeze_excite, self.shrink, self.skip = expand, mix, squeeze_excite, shrink, skip

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H', W'), this piece's share of the sum."""
        y = self.expand(x)
        mixed = self.squeeze_excite(self.mix(y))
        share: Tensor = self.shrink(y + mixed if self.skip else mixed)
        return share

    def split(self, channels: int) -> list["Piece"]:
        """Pieces of this many expanded channels each, of a block without squeeze-excite and without a last bias."""
        expand, mix = self.expand[0], self.mix[0]
        cuts = [slice(start, start + channels) for start in range(0, expand.out_channels, channels)]
        return [
            Piece(
                nn.Sequential(pointwise(expand.weight[cut].detach().flatten(1), expand.bias[cut]), self.expand[1]),
                nn.Sequential(_depthwise(mix, cut), self.mix[1]),
                self.squeeze_excite,
                pointwise(self.shrink.weight[:, cut].detach().flatten(1)),
                skip=self.skip,
            )
            for cut in cuts
        ]


class TokenAttention(nn.Module):
    """EW-MHSA with the channels last: one copy splits the map into windows, another reassembles it.

    Between them a token is a row. ONNX Runtime's matrix product reads heads and windows in place (it merges the
    transposes that come before it), so queries, keys and values are not copied.
    """

    def __init__(self, attention: WindowAttention) -> None:
        """The scale is folded into the queries; a bias of the keys would shift all scores of a query equally."""
        super().__init__()
        self.heads, self.window = attention.heads, attention.window
        weight, bias = attention.qk.weight.detach().flatten(1), cast("Tensor", attention.qk.bias)
        channels = weight.shape[1]
        self.query, self.key = nn.Linear(channels, channels), nn.Linear(channels, channels, bias=False)
        with torch.no_grad():
            self.query.weight.copy_(weight[:channels] * attention.scale)
            self.query.bias.copy_(bias[:channels] * attention.scale)
            self.key.weight.copy_(weight[channels:])

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, C) -> (N, H, W, C); maps that the window does not divide are padded with zeros."""
        n, height, width, channels = x.shape
        side, heads, depth = self.window, self.heads, channels // self.heads
        bottom, right = -height % side, -width % side
        padded = bool(bottom or right)
        if padded:
            x = functional.pad(x, (0, 0, 0, right, 0, bottom))
        rows, columns = (height + bottom) // side, (width + right) // side

        windows = n * rows * columns
        x = x.reshape(n, side, rows, side, columns, channels).permute(1, 3, 0, 2, 4, 5).reshape(-1, channels)

        def heads_of(tokens: Tensor) -> Tensor:
            """(side * side * windows, C) -> (windows, heads, side * side, C / heads)."""
            return tokens.reshape(side * side, windows, heads, depth).permute(1, 2, 0, 3)

        weights = (heads_of(self.query(x)) @ heads_of(self.key(x)).transpose(-2, -1)).softmax(-1)
        mixed = (weights @ heads_of(x)).reshape(n, rows, columns, heads, side, side, depth)
        mixed = mixed.permute(0, 4, 1, 5, 2, 3, 6).reshape(n, height + bottom, width + right, channels)
        return functional.pad(mixed, (0, 0, 0, -right, 0, -bottom)) if padded else mixed


class ServedDilation(nn.Module):
    """A dilated 3x3 convolution; if its outer taps lie outside of the whole map, only the centre is computed."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        """The convolution is taken over."""
        super().__init__()
        self.convolution = convolution
        self.centre = pointwise(convolution.weight[:, :, 1, 1].detach(), cast("Tensor", convolution.bias).detach())

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H, W)."""
        reach: int = self.convolution.dilation[0]
        outputs: Tensor = self.centre(x) if reach >= max(x.shape[2:]) else self.convolution(x)
        return outputs


def fold_norm_before(norm: nn.BatchNorm2d, convolution: nn.Conv2d) -> nn.Conv2d:
    """One 1x1 convolution for a BatchNorm and the 1x1 convolution after it."""
    mean, variance = cast("Tensor", norm.running_mean), cast("Tensor", norm.running_var)
    scale = norm.weight.detach() / (variance + norm.eps).sqrt()
    matrix = convolution.weight.detach().flatten(1)
    bias = matrix @ (norm.bias.detach() - mean * scale)
    return pointwise(matrix * scale, bias if convolution.bias is None else bias + convolution.bias.detach())


def pointwise(matrix: Tensor, bias: Tensor | None = None) -> nn.Conv2d:
    """The 1x1 convolution with this matrix (C', C) and bias (C',)."""
    outputs, inputs = matrix.shape
    convolution = nn.Conv2d(inputs, outputs, 1, bias=bias is not None)
    weights = {"weight": matrix[:, :, None, None]}
    convolution.load_state_dict(weights if bias is None else weights | {"bias": bias})
    return convolution


def _depthwise(whole: nn.Conv2d, cut: slice) -> nn.Conv2d:
    """The depthwise convolution of these channels alone."""
    part = copy.deepcopy(whole)
    part.weight = nn.Parameter(whole.weight[cut].detach())
    part.bias = nn.Parameter(cast("Tensor", whole.bias)[cut].detach())
    part.in_channels = part.out_channels = part.groups = len(part.weight)
    return part


def _fuse_backbone(backbone: EMO) -> None:
    """Replace all blocks; the stem's input becomes pixels less ``MEAN``, not yet divided by ``STD``.

    The stem's output is no feature that a head uses, so its last convolution merges into the next block's first.
    """
    stem: Any = backbone.stages[0]
    first = fuse_conv_bn_eval(stem[0], stem[1])
    with torch.no_grad():  # the mean cannot be folded: zeros are padded after its subtraction
        first.weight /= torch.tensor(STD)[:, None, None]
    stages: Any = backbone.stages[1:]
    blocks = [[ServedBlock(block) for block in stage] for stage in stages]
    last = ServedBlock(stem[2])
    (end,) = cast("list[Piece]", list(last.pieces))
    for piece in cast("list[Piece]", list(blocks[0][0].pieces)):
        expand = piece.expand[0]
        piece.expand[0] = pointwise(expand.weight.flatten(1) @ end.shrink.weight.flatten(1), expand.bias)
    end.shrink = nn.Identity()
    backbone.stages = nn.ModuleList([nn.Sequential(first, last), *(nn.Sequential(*stage) for stage in blocks)])
