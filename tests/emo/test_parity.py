import numpy as np
import pytest
import torch

import emo
from emo.heads.ssdlite import SSDLite
from tests.emo.parity import expected, network_input, upstream_state

INPUTS = {"a": (2, 224, 224), "b": (1, 256, 192), "c": (1, 203, 150)}


@pytest.mark.parametrize("name", ["emo_1m", "emo_5m"])
def test_a_classifier_reproduces_the_reference_logits_at_every_size(name: str) -> None:
    model = emo.create(name).eval()
    emo.load_upstream(model, upstream_state(name))
    for letter, shape in INPUTS.items():
        with torch.no_grad():
            logits = model(network_input(f"parity.input.{letter}", *shape))
        np.testing.assert_allclose(logits.numpy(), expected(f"{name}.{letter}.logits"), rtol=0, atol=2e-5)


@pytest.mark.parametrize(("letter", "count"), [("a", 1), ("b", 2)])
def test_ssdlite_reproduces_the_reference_head_outputs_and_boxes(letter: str, count: int) -> None:
    model = emo.create("ssdlite_emo_1m").eval()
    assert isinstance(model, SSDLite)
    emo.load_upstream(model, upstream_state("ssdlite_emo_1m"))
    images = network_input(f"parity.ssd.{letter}", count, 320, 320)
    with torch.no_grad():
        _, logits, deltas = model.raw(images)
        boxes, scores = model(images)
    wanted = expected(f"ssdlite_emo_1m.{letter}.logits_every_37th_anchor")
    np.testing.assert_allclose(logits.numpy()[:, ::37], wanted, rtol=0, atol=5e-5)
    np.testing.assert_allclose(deltas.numpy(), expected(f"ssdlite_emo_1m.{letter}.deltas"), rtol=0, atol=5e-5)
    np.testing.assert_allclose(boxes.numpy(), expected(f"ssdlite_emo_1m.{letter}.boxes"), rtol=0, atol=1e-3)
    np.testing.assert_allclose(scores, logits.softmax(-1)[..., :80], rtol=0, atol=0)
    assert boxes.shape == (count, 3234, 4)
    assert scores.shape == (count, 3234, 80)
