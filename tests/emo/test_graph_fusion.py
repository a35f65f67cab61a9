from typing import Any

import pytest
import torch
from torch import nn

import emo
from emo.export.graph_fusion import ServedGraph, TokenAttention, fold_norm_before
from emo.models.irmb import WindowAttention
from emo.training.augment import normalise


def trained(name: str) -> Any:  # noqa: ANN401 - a classifier or a detector
    """A model whose BatchNorms have statistics and weights of their own, as after training."""
    torch.manual_seed(3)
    model = emo.create(name, 7).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return model


@pytest.mark.parametrize("side", [64, 96, 224])
@pytest.mark.parametrize("name", ["emo_1m", "emo_2m", "emo_5m", "emo_6m"])
def test_a_classifier_says_the_same_after_the_rewrite(name: str, side: int) -> None:
    # at 64 and 96 px no map fits the windows, at 224 px all of them do
    model, images = trained(name), torch.randint(0, 256, (2, side, side, 3), dtype=torch.uint8)
    with torch.no_grad():
        (scores,) = ServedGraph(model)(images)
        torch.testing.assert_close(scores, model(normalise(images)).softmax(-1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["ssdlite_emo_1m", "ssdlite_emo_5m", "retinanet_emo_2m"])
def test_a_detector_says_the_same_after_the_rewrite(name: str) -> None:
    model, images = trained(name), torch.randint(0, 256, (1, 160, 160, 3), dtype=torch.uint8)
    with torch.no_grad():
        boxes, scores = ServedGraph(model)(images)
        wanted_boxes, wanted_scores = model(normalise(images))
    torch.testing.assert_close(boxes, wanted_boxes, rtol=0, atol=1e-3)
    torch.testing.assert_close(scores, wanted_scores, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["deeplabv3_emo_1m", "pspnet_emo_5m"])
@pytest.mark.parametrize("side", [96, 448])
def test_a_segmenter_says_the_same_after_the_rewrite(name: str, side: int) -> None:
    # at 96 px the map has 3 x 3 cells, fewer than any dilation; at 448 px 14 x 14, more than the smallest
    model, images = trained(name), torch.randint(0, 256, (2, side, side, 3), dtype=torch.uint8)
    with torch.no_grad():
        (logits,) = ServedGraph(model)(images)
        wanted = model(normalise(images))
    torch.testing.assert_close(logits, wanted, rtol=0, atol=1e-6 * max(1.0, float(wanted.abs().max())))


def test_the_rewrite_leaves_the_model_as_it_was() -> None:
    model = trained("emo_1m")
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    ServedGraph(model)
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


@pytest.mark.parametrize("name", ["emo_1m", "ssdlite_emo_1m", "deeplabv3_emo_1m"])
def test_no_batch_norm_is_left(name: str) -> None:
    assert not [module for module in ServedGraph(trained(name)).modules() if isinstance(module, nn.BatchNorm2d)]


@pytest.mark.parametrize("size", [(14, 14), (7, 21), (5, 6), (20, 14)])
def test_attention_of_tokens_is_the_attention_of_maps(size: tuple[int, int]) -> None:
    attention = WindowAttention(8, head_width=4, window=7)
    maps = torch.randn(2, 8, *size)
    with torch.no_grad():
        wanted = attention(maps).permute(0, 2, 3, 1)
        torch.testing.assert_close(TokenAttention(attention)(maps.permute(0, 2, 3, 1)), wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("bias", [True, False])
def test_a_norm_folds_into_the_convolution_after_it(bias: bool) -> None:
    norm, convolution = nn.BatchNorm2d(4), nn.Conv2d(4, 6, 1, bias=bias)
    norm.train()
    for _ in range(3):
        norm(torch.randn(8, 4, 5, 5) * 2 + 1)
    norm.eval()
    x = torch.randn(2, 4, 5, 5)
    with torch.no_grad():
        torch.testing.assert_close(fold_norm_before(norm, convolution)(x), convolution(norm(x)), rtol=0, atol=1e-5)
