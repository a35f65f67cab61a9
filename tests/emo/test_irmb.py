import pytest
import torch
from torch import nn

from emo.models.irmb import EfficientOperator, MetaMobileBlock, WindowAttention, batch_norm, layer_norm


def test_a_window_is_a_strided_grid_over_the_whole_map() -> None:
    # with uniform attention every pixel becomes the mean of its window: every second row and column of a 14 x 14 map
    attention = WindowAttention(4, head_width=4, window=7)
    nn.init.zeros_(attention.qk.weight)
    x = torch.rand(1, 4, 14, 14)
    mixed = attention(x)
    torch.testing.assert_close(mixed[0, :, 2, 3], x[0, :, 0::2, 1::2].mean((1, 2)))


def test_padded_positions_take_part_in_the_attention() -> None:
    attention = WindowAttention(4, head_width=4, window=7)
    nn.init.zeros_(attention.qk.weight)
    x = torch.rand(1, 4, 5, 6)
    torch.testing.assert_close(attention(x)[0, :, 0, 0], x.sum((2, 3))[0] / 49)


def test_channels_that_the_heads_do_not_fill_are_refused() -> None:
    with pytest.raises(ValueError, match="80 channels are no multiple of the head width 24"):
        WindowAttention(80, head_width=24, window=7)


@pytest.mark.parametrize(("stride", "channels_out"), [(2, 8), (1, 16)])
def test_there_is_no_residual_where_the_shape_changes(stride: int, channels_out: int) -> None:
    operator = EfficientOperator(kernel=3, stride=stride)
    block = MetaMobileBlock(8, channels_out, 2.0, operator, norm=batch_norm, activation=nn.SiLU)
    assert not block.residual
    assert block(torch.rand(1, 8, 9, 9)).shape == (1, channels_out, -(-9 // stride), -(-9 // stride))


def test_a_block_whose_last_convolution_is_zero_is_the_identity() -> None:
    operator = EfficientOperator(kernel=5, head_width=4)
    block = MetaMobileBlock(8, 8, 3.0, operator, norm=layer_norm, activation=nn.GELU)
    nn.init.zeros_(block.shrink.weight)
    x = torch.rand(2, 8, 7, 7)
    torch.testing.assert_close(block(x), x)


def test_drop_path_acts_in_training_only() -> None:
    block = MetaMobileBlock(
        8, 8, 2.0, EfficientOperator(kernel=3), norm=batch_norm, activation=nn.SiLU, drop_path=0.999
    )
    x = torch.rand(4, 8, 7, 7)
    torch.manual_seed(0)
    torch.testing.assert_close(block.train()(x), x)
    assert not torch.allclose(block.eval()(x), x)
