import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import emo
from emo.checkpoints.loader import restore
from emo.models.heads.segmenter import Segmenter
from emo.models.irmb import WindowAttention
from emo.models.layers import LayerNorm2d

PARAMETERS = {
    "emo_1m": 1_361_168,
    "emo_2m": 2_377_472,
    "emo_5m": 5_108_848,
    "emo_6m": 6_168_496,
    "ssdlite_emo_1m": 2_311_980,
    "ssdlite_emo_2m": 3_342_716,
    "ssdlite_emo_5m": 6_076_540,
    "retinanet_emo_1m": 10_479_244,
    "retinanet_emo_2m": 11_555_644,
    "retinanet_emo_5m": 14_440_508,
    "deeplabv3_emo_1m": 5_653_188,
    "deeplabv3_emo_2m": 6_967_156,
    "deeplabv3_emo_5m": 10_355_828,
    "pspnet_emo_1m": 4_374_724,
    "pspnet_emo_2m": 5_557_620,
    "pspnet_emo_5m": 8_585_844,
}
MULTIPLY_ADDS = {"emo_1m": 260.84, "emo_2m": 439.36, "emo_5m": 902.58, "emo_6m": 960.75}
NORM_COST = {nn.BatchNorm2d: 2, LayerNorm2d: 5}


@pytest.mark.parametrize("name", emo.MODEL_NAMES)
def test_every_model_has_the_parameters_of_the_paper(name: str) -> None:
    assert sum(parameter.numel() for parameter in emo.create(name).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", MULTIPLY_ADDS)
def test_every_classifier_has_the_multiply_adds_of_the_paper(name: str) -> None:
    # the paper's counter takes 2 operations a value for BatchNorm and 5 for LayerNorm, and none for activations
    model = emo.create(name).eval()
    norms = [0]

    def count(cost: int, _module: nn.Module, inputs: tuple[Tensor], _output: Tensor) -> None:
        norms[0] += cost * inputs[0].numel()

    for module in model.modules():
        if type(module) in NORM_COST:
            module.register_forward_hook(partial(count, NORM_COST[type(module)]))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, 224, 224))
    assert (counter.get_total_flops() / 2 + norms[0]) / 1e6 == pytest.approx(MULTIPLY_ADDS[name], abs=0.01)


def test_the_number_of_classes_can_be_chosen() -> None:
    assert emo.create("emo_1m", num_classes=7).eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 7)
    for name in ("ssdlite_emo_1m", "retinanet_emo_1m"):
        boxes, scores = emo.create(name, num_classes=5).eval()(torch.zeros(1, 3, 64, 64))
        assert boxes.shape[1:] == (boxes.shape[1], 4)
        assert scores.shape == (1, boxes.shape[1], 5)
    for name in ("deeplabv3_emo_1m", "pspnet_emo_1m"):
        assert emo.create(name, num_classes=5).eval()(torch.zeros(1, 3, 64, 96)).shape == (1, 5, 2, 3)


def test_an_unknown_name_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'emo_9m'; there are emo_1m, .*ssdlite_emo_5m, .*pspnet_emo_5m"):
        emo.create("emo_9m")


@pytest.mark.parametrize(
    ("head", "windows"), [("ssdlite", {10}), ("retinanet", {10}), ("deeplabv3", {16}), ("pspnet", {16})]
)
def test_dense_prediction_of_5m_uses_larger_windows(head: str, windows: set[int]) -> None:
    def windows_of(size: str) -> set[int]:
        model = emo.create(f"{head}_{size}")
        return {module.window for module in model.modules() if isinstance(module, WindowAttention)}

    assert windows_of("emo_5m") == windows
    assert windows_of("emo_2m") == {7}


def test_only_training_computes_the_auxiliary_head() -> None:
    model = emo.create("deeplabv3_emo_1m", num_classes=5).eval()
    assert isinstance(model, Segmenter)
    images = torch.rand(1, 3, 64, 96)
    logits, auxiliary = model.raw(images)
    assert (logits.shape, auxiliary.shape) == ((1, 5, 2, 3), (1, 5, 4, 6))
    model.auxiliary = nn.Identity()  # type: ignore[assignment]
    torch.testing.assert_close(model(images), logits)


def test_the_documented_way_to_a_state_dict_works_and_the_file_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    (block,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(block, names)  # noqa: S102  # our own page
    for name in ("boxes", "scores"):
        assert str(tuple(names[name].shape)) in block
    restored = restore(Path("tools.pt"))
    assert restored.architecture == "ssdlite_emo_1m"
    answers = restored.model.eval()(torch.zeros(1, 3, 320, 320))
    for found, wanted in zip(answers, (names["boxes"], names["scores"]), strict=True):
        torch.testing.assert_close(found, wanted)
