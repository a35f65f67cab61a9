"""Small layers that every part of EMO is made of."""

import torch
from torch import Tensor, nn
from torch.nn import functional

BACKBONE_EPS = 1e-6


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of an (N, C, H, W) map."""

    def __init__(self, channels: int) -> None:
        """The authors use 1e-6 where PyTorch's default is 1e-5."""
        super().__init__(channels, eps=BACKBONE_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        y = x.permute(0, 2, 3, 1)  # (N, C, H, W) -> (N, H, W, C)
        y = functional.layer_norm(y, self.normalized_shape, self.weight, self.bias, self.eps)
        normed: Tensor = y.permute(0, 3, 1, 2)  # (N, H, W, C) -> (N, C, H, W)
        return normed


class SqueezeExcite(nn.Module):
    """Channel attention from global average pooling (arXiv 1709.01507), reduction ratio 1, with SiLU."""

    def __init__(self, channels: int) -> None:
        """Both 1x1 convolutions keep the width."""
        super().__init__()
        self.reduce = nn.Conv2d(channels, channels, 1)
        self.expand = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W), each channel scaled by a factor in (0, 1)."""
        factor = x.mean((2, 3), keepdim=True)
        factor = self.expand(functional.silu(self.reduce(factor)))
        scaled: Tensor = x * factor.sigmoid()
        return scaled


class DropPath(nn.Module):
    """Stochastic depth (arXiv 1603.09382): drops the whole residual branch of a sample while training."""

    def __init__(self, rate: float) -> None:
        """``rate`` is the probability of dropping, in [0, 1)."""
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """A tensor of the same shape; kept samples are scaled up to preserve the expectation."""
        if self.rate == 0.0 or not self.training:
            return x
        kept = 1.0 - self.rate
        mask = torch.empty((x.shape[0], 1, 1, 1), dtype=x.dtype, device=x.device).bernoulli_(kept)
        return x * (mask / kept)


class DepthwiseConv2d(nn.Conv2d):
    """Depthwise convolution without bias that keeps the size, a stride aside.

    Where it learns on a CPU it is computed in float32, also under autocast: PyTorch's gradient of it in bfloat16 takes
    several times as long there.
    """

    def __init__(self, channels: int, kernel: int, stride: int = 1) -> None:
        """One filter for each channel."""
        super().__init__(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H / stride, W / stride), rounded up."""
        learns = self.weight.requires_grad and torch.is_grad_enabled()
        if learns and x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.float())
        return super().forward(x)


class ConvNorm(nn.Sequential):
    """Convolution without bias, BatchNorm, activation: the unit of the detection neck and head."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        """BatchNorm and ReLU6 as the SSDLite configurations set them (eps 1e-3, momentum 0.03)."""
        norm = nn.BatchNorm2d(convolution.out_channels, eps=1e-3, momentum=0.03)
        super().__init__(convolution, norm, nn.ReLU6())


class ConvNormReLU(nn.Sequential):
    """Convolution without bias that keeps the size, BatchNorm, ReLU: the unit of the segmentation heads."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, dilation: int = 1) -> None:
        """BatchNorm as PyTorch has it by default."""
        padding = dilation * (kernel // 2)
        super().__init__(
            nn.Conv2d(channels_in, channels_out, kernel, padding=padding, dilation=dilation, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
        )
