"""One block, two parameters: MobileNetV2's block, both blocks of a Transformer and iRMB are instances of it.

Each is held against a module that is written for itself.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from emo.models.irmb import EfficientOperator, MetaMobileBlock, layer_norm

CHANNELS, SIDE = 16, 7


def maps() -> Tensor:
    return torch.randn(2, CHANNELS, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def lively(module: nn.Module) -> Any:  # noqa: ANN401 - the module itself
    """The module in eval mode, its norms with statistics and weights as after training."""
    torch.manual_seed(1)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d) and part.running_mean is not None and part.running_var is not None:
            nn.init.normal_(part.running_mean, std=0.1)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
        if isinstance(part, nn.BatchNorm2d | nn.LayerNorm):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.1)
    return module.eval()


def assert_same(block: MetaMobileBlock, reference: nn.Module) -> None:
    with torch.no_grad():
        torch.testing.assert_close(block.eval()(maps()), reference(maps()), rtol=0, atol=1e-6)


class InvertedResidual(nn.Module):
    """MobileNetV2 (arXiv 1801.04381, section 3.3): BatchNorm after each of three convolutions, ReLU6 after two."""

    def __init__(self) -> None:
        super().__init__()
        wide = 6 * CHANNELS
        self.expand = nn.Sequential(nn.Conv2d(CHANNELS, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6())
        self.depthwise = nn.Sequential(
            nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False), nn.BatchNorm2d(wide, eps=1e-6), nn.ReLU6()
        )
        self.project = nn.Sequential(nn.Conv2d(wide, CHANNELS, 1, bias=False), nn.BatchNorm2d(CHANNELS))

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + projected


class FeedForward(nn.Module):
    """A Transformer's (arXiv 1706.03762, section 3.3), normed before, on tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(CHANNELS, eps=1e-6)
        self.first, self.second = nn.Linear(CHANNELS, 4 * CHANNELS), nn.Linear(4 * CHANNELS, CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + self.second(functional.gelu(self.first(self.norm(tokens))))
        answer: Tensor = tokens.transpose(1, 2).reshape(x.shape)
        return answer


class SelfAttention(nn.Module):
    """PyTorch's own, normed before, on tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(CHANNELS, eps=1e-6)
        self.attention = nn.MultiheadAttention(CHANNELS, num_heads=1, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        normed = self.norm(tokens)
        tokens = tokens + self.attention(normed, normed, normed, need_weights=False)[0]
        answer: Tensor = tokens.transpose(1, 2).reshape(x.shape)
        return answer


class ResidualMobileBlock(nn.Module):
    """iRMB as equation 4 writes it: attention over the map, expansion, convolution with a skip, shrinking."""

    def __init__(self) -> None:
        super().__init__()
        wide = 3 * CHANNELS
        self.norm = nn.LayerNorm(CHANNELS, eps=1e-6)
        self.query, self.key = nn.Linear(CHANNELS, CHANNELS), nn.Linear(CHANNELS, CHANNELS)
        self.value = nn.Linear(CHANNELS, wide)
        self.depthwise, self.depthwise_norm = (
            nn.Conv2d(wide, wide, 5, padding=2, groups=wide, bias=False),
            nn.BatchNorm2d(wide, eps=1e-6),
        )
        self.shrink = nn.Linear(wide, CHANNELS, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x.flatten(2).transpose(1, 2))  # (N, L, C)
        heads = []
        for own in torch.arange(CHANNELS).split(4):
            scores = self.query(tokens)[..., own] @ self.key(tokens)[..., own].transpose(1, 2) / 2.0
            heads.append(scores.softmax(-1) @ tokens[..., own])
        value = functional.gelu(self.value(torch.cat(heads, -1))).transpose(1, 2).reshape(x.shape[0], -1, SIDE, SIDE)
        mixed = value + functional.silu(self.depthwise_norm(self.depthwise(value)))
        shrunk: Tensor = self.shrink(mixed.flatten(2).transpose(1, 2))
        return x + shrunk.transpose(1, 2).reshape(x.shape)


def copy(convolution: nn.Module, weight: Tensor, bias: Tensor | None = None) -> None:
    """Write a matrix, and a bias where there is one, into a 1x1 convolution."""
    state = {"weight": weight.detach().reshape(*weight.shape[:2], 1, 1)}
    convolution.load_state_dict(state if bias is None else state | {"bias": bias.detach()})


def test_ratio_6_and_a_convolution_make_mobilenets_inverted_residual() -> None:
    reference = lively(InvertedResidual())
    operator = EfficientOperator(kernel=3, activation=nn.ReLU6, skip=False)
    block: Any = MetaMobileBlock(CHANNELS, CHANNELS, 6.0, operator, norm=None, activation=nn.ReLU6, bias=True)
    # the norms after the 1x1 convolutions are folded into them; the one after the depthwise convolution is the block's
    block.expand[0].load_state_dict(fuse_conv_bn_eval(reference.expand[0], reference.expand[1]).state_dict())
    block.convolution.load_state_dict(reference.depthwise.state_dict())
    block.shrink.load_state_dict(fuse_conv_bn_eval(reference.project[0], reference.project[1]).state_dict())
    assert_same(block, reference)


def test_ratio_4_and_no_operator_make_a_transformers_feed_forward_block() -> None:
    reference = lively(FeedForward())
    operator = EfficientOperator(kernel=None)
    block: Any = MetaMobileBlock(CHANNELS, CHANNELS, 4.0, operator, norm=layer_norm, activation=nn.GELU, bias=True)
    block.norm.load_state_dict(reference.norm.state_dict())
    copy(block.expand[0], reference.first.weight, reference.first.bias)
    copy(block.shrink, reference.second.weight, reference.second.bias)
    assert_same(block, reference)


def test_ratio_1_and_attention_make_a_transformers_attention_block() -> None:
    # with one head: EW-MHSA mixes the slice of a head before the values are made of all channels
    reference = lively(SelfAttention())
    operator = EfficientOperator(kernel=None, head_width=CHANNELS, window=SIDE)
    block: Any = MetaMobileBlock(CHANNELS, CHANNELS, 1.0, operator, norm=layer_norm, activation=nn.Identity, bias=True)
    weight, bias = reference.attention.in_proj_weight, reference.attention.in_proj_bias
    block.norm.load_state_dict(reference.norm.state_dict())
    copy(block.attention.qk, weight[: 2 * CHANNELS], bias[: 2 * CHANNELS])
    copy(block.expand[0], weight[2 * CHANNELS :], bias[2 * CHANNELS :])
    copy(block.shrink, reference.attention.out_proj.weight, reference.attention.out_proj.bias)
    assert_same(block, reference)


def test_attention_and_a_convolution_make_irmb() -> None:
    reference = lively(ResidualMobileBlock())
    operator = EfficientOperator(kernel=5, head_width=4, window=SIDE)
    block: Any = MetaMobileBlock(CHANNELS, CHANNELS, 3.0, operator, norm=layer_norm, activation=nn.GELU)
    block.norm.load_state_dict(reference.norm.state_dict())
    query, key = reference.query, reference.key
    copy(block.attention.qk, torch.cat((query.weight, key.weight)), torch.cat((query.bias, key.bias)))
    copy(block.expand[0], reference.value.weight, reference.value.bias)
    block.convolution[0].load_state_dict(reference.depthwise.state_dict())
    block.convolution[1].load_state_dict(reference.depthwise_norm.state_dict())
    copy(block.shrink, reference.shrink.weight)
    assert_same(block, reference)
