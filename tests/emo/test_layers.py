"""Layers under automatic mixed precision."""

import torch

from emo.models.layers import DepthwiseConv2d


def test_a_depthwise_convolution_that_learns_on_a_cpu_is_computed_in_float32() -> None:
    layer = DepthwiseConv2d(4, 5)
    picture = torch.randn(2, 4, 8, 8, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        learning = layer(picture)
        with torch.no_grad():
            measured = layer(picture)
        frozen = layer.requires_grad_(requires_grad=False)(picture)
    assert learning.dtype == torch.float32
    assert measured.dtype == frozen.dtype == torch.bfloat16
    torch.testing.assert_close(learning.detach(), measured.float(), rtol=0.02, atol=0.02)
