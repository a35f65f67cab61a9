import pytest
import torch

import emo
from tests.emo.parity import upstream_state


@pytest.mark.parametrize("name", ["emo_1m", "ssdlite_emo_1m", "retinanet_emo_1m", "deeplabv3_emo_1m", "pspnet_emo_1m"])
def test_a_missing_an_extra_and_a_misshapen_key_are_all_named(name: str) -> None:
    state = upstream_state(name)
    first, second = list(state)[:2]
    del state[first]
    state[second] = torch.zeros(3, 5)
    state["ema_thing.weight"] = torch.zeros(1)
    model = emo.create(name)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match="3 keys") as caught:
        emo.load_upstream(model, state)
    assert f"missing: {first}" in str(caught.value)
    assert f"misshapen: {second} is (3, 5)" in str(caught.value)
    assert "extra: ema_thing.weight" in str(caught.value)
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())


def test_a_classifier_checkpoint_does_not_fit_a_detector() -> None:
    with pytest.raises(ValueError, match=r"missing: backbone\.stage0"):
        emo.load_upstream(emo.create("ssdlite_emo_1m"), upstream_state("emo_1m"))


def test_another_number_of_classes_is_misshapen() -> None:
    with pytest.raises(ValueError, match=r"misshapen: head\.weight is \(1000, 168\), wants \(10, 168\)"):
        emo.load_upstream(emo.create("emo_1m", num_classes=10), upstream_state("emo_1m"))


def test_a_segmenter_wants_its_auxiliary_head_too() -> None:
    state = {key: tensor for key, tensor in upstream_state("pspnet_emo_1m").items() if "auxiliary_head" not in key}
    with pytest.raises(ValueError, match=r"8 keys .*missing: auxiliary_head\.convs\.0\.conv\.weight"):
        emo.load_upstream(emo.create("pspnet_emo_1m"), state)
