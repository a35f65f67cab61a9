"""Meta Mobile Block and its instance iRMB (arXiv 2301.01146, section 3).

One residual block stands behind MobileNetV2's inverted residual block and the Transformer's attention and
feed-forward blocks. It has two parameters, the expansion ratio and the efficient operator (figure 2, equations 1-3):

    y = x + shrink(operator(expand(norm(x))))

iRMB takes window attention and a depthwise convolution as its operator (equation 4). docs/meta-mobile-block.md sets the
three side by side; tests/emo/test_meta_mobile_block.py holds each against a module that is written for itself.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from emo.models.layers import BACKBONE_EPS, DepthwiseConv2d, DropPath, LayerNorm2d, SqueezeExcite


@dataclass(frozen=True, slots=True)
class EfficientOperator:
    """The operator between expansion and shrinking, which mixes pixels.

    ``head_width`` channels a head and strided ``window`` x ``window`` windows for the attention, None without it;
    ``kernel`` and ``stride`` of the depthwise convolution, None without it; ``squeeze_excite`` after it.
    ``activation`` follows the convolution and ``skip`` leads around it, if the block has a residual.
    """

    kernel: int | None
    stride: int = 1
    head_width: int | None = None
    window: int = 7
    squeeze_excite: bool = False
    activation: Callable[[], nn.Module] = nn.SiLU
    skip: bool = True


class WindowAttention(nn.Module):
    """EW-MHSA as section 3.3 improves it: queries and keys of the input width, applied before the expansion.

    The attention weights mix the *unexpanded* input; multiplying before the expansion costs less by the expansion
    ratio. A window is a strided grid: it takes every n-th row and column, so that each one sees the whole map.
    """

    def __init__(self, channels: int, head_width: int, window: int) -> None:
        """Raise ValueError if the heads do not fill the channels."""
        super().__init__()
        if channels % head_width:
            msg = f"{channels} channels are no multiple of the head width {head_width}"
            raise ValueError(msg)
        self.heads = channels // head_width
        self.window = window
        self.scale = head_width**-0.5
        self.qk = nn.Conv2d(channels, 2 * channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W); maps that the window does not divide are padded with zeros.

        Padded positions take part in the softmax: their query and key are the bias.
        """
        n, channels, height, width = x.shape
        side = self.window
        bottom, right = -height % side, -width % side
        if bottom or right:
            x = functional.pad(x, (0, right, 0, bottom))
        rows, columns = (height + bottom) // side, (width + right) // side

        def tokens(maps: Tensor, parts: int) -> Tensor:
            """(N, parts * C, H, W) -> (parts, N * rows * columns, heads, side * side, C / heads)."""
            blocks = maps.reshape(n, parts, self.heads, channels // self.heads, side, rows, side, columns)
            blocks = blocks.permute(1, 0, 5, 7, 2, 4, 6, 3)
            return blocks.reshape(parts, n * rows * columns, self.heads, side * side, channels // self.heads)

        query, key = tokens(self.qk(x), 2)
        weights = (query @ key.transpose(-2, -1) * self.scale).softmax(-1)
        mixed: Tensor = weights @ tokens(x, 1)[0]
        mixed = mixed.reshape(n, rows, columns, self.heads, side, side, channels // self.heads)
        mixed = mixed.permute(0, 3, 6, 4, 1, 5, 2).reshape(n, channels, height + bottom, width + right)
        return mixed[:, :, :height, :width]


class MetaMobileBlock(nn.Module):
    """norm -> [attention] -> expand -> [depthwise convolution] -> shrink, and one residual around it all."""

    def __init__(  # noqa: PLR0913  each is a part of the block
        self,
        channels_in: int,
        channels_out: int,
        expansion_ratio: float | None,
        operator: EfficientOperator,
        *,
        norm: Callable[[int], nn.Module] | None,
        activation: Callable[[], nn.Module],
        residual: bool = True,
        drop_path: float = 0.0,
        bias: bool = False,
    ) -> None:
        """``expansion_ratio`` None leaves the expansion out, ``norm`` None the norm (both so in the stem).

        ``bias`` of the last convolution.
        """
        super().__init__()
        expanded = channels_in if expansion_ratio is None else int(channels_in * expansion_ratio)
        self.residual = residual and channels_in == channels_out and operator.stride == 1
        self.norm = norm(channels_in) if norm else nn.Identity()
        self.attention = (
            WindowAttention(channels_in, operator.head_width, operator.window) if operator.head_width else nn.Identity()
        )
        self.expand = (
            nn.Sequential(nn.Conv2d(channels_in, expanded, 1), activation()) if expansion_ratio else nn.Identity()
        )
        self.skip = operator.skip and self.residual and operator.kernel is not None
        self.convolution = nn.Identity() if operator.kernel is None else _depthwise(expanded, operator.kernel, operator)
        self.squeeze_excite = SqueezeExcite(expanded) if operator.squeeze_excite else nn.Identity()
        self.shrink = nn.Conv2d(expanded, channels_out, 1, bias=bias)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels_in, H, W) -> (N, channels_out, H / stride, W / stride), rounded up."""
        y = self.expand(self.attention(self.norm(x)))
        mixed = self.squeeze_excite(self.convolution(y))
        out: Tensor = self.shrink(y + mixed if self.skip else mixed)
        return x + self.drop_path(out) if self.residual else out


def _depthwise(channels: int, kernel: int, operator: EfficientOperator) -> nn.Sequential:
    """A depthwise convolution, BatchNorm and an activation that is the operator's, whatever the stage's is."""
    return nn.Sequential(
        DepthwiseConv2d(channels, kernel, operator.stride),
        nn.BatchNorm2d(channels, eps=BACKBONE_EPS),
        operator.activation(),
    )


def batch_norm(channels: int) -> nn.Module:
    """BatchNorm with the backbone's eps."""
    return nn.BatchNorm2d(channels, eps=BACKBONE_EPS)


def layer_norm(channels: int) -> nn.Module:
    """LayerNorm over the channels."""
    return LayerNorm2d(channels)
