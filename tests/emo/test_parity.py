from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import emo
from emo.models.heads.retinanet import RetinaNet
from emo.models.heads.ssdlite import SSDLite
from emo_serve.manifest import DetectionDefaults
from emo_serve.vision.detect import select_detections
from emo_serve.vision.results import DetectParameters, Geometry, ImageSize
from emo_serve.vision.segment import segment
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


def test_retinanet_reproduces_the_reference_anchors_head_outputs_boxes_and_detections() -> None:
    # in float64: boxes of hundreds of pixels show float32's own rounding of the deltas
    name = "retinanet_emo_1m"
    model = emo.create(name).eval()
    assert isinstance(model, RetinaNet)
    emo.load_upstream(model, upstream_state(name))
    images = network_input("parity.retina.a", 1, 320, 416).double()
    with torch.no_grad():
        anchors, logits, deltas = model.double().raw(images)
        boxes, scores = (output.numpy() for output in model(images))

    def wanted(part: str) -> NDArray[Any]:
        return expected(f"{name}.a.{part}", "parity_heads.npz")

    assert boxes.shape == (1, 24993, 4)
    assert scores.shape == (1, 24993, 80)
    np.testing.assert_array_equal(anchors[::37], wanted("anchors_every_37th"))
    np.testing.assert_allclose(logits[:, ::185], wanted("logits_every_185th_anchor"), rtol=0, atol=5e-5)
    np.testing.assert_allclose(deltas[:, ::37], wanted("deltas_every_37th_anchor"), rtol=0, atol=5e-5)
    np.testing.assert_allclose(boxes[:, ::37], wanted("boxes_every_37th_anchor"), rtol=0, atol=1e-3)

    found = select_detections(
        boxes[0],
        scores[0],
        Geometry(ImageSize(416, 320), 1.0, 1.0),
        DetectParameters(score_threshold=0.05, iou_threshold=0.5, max_detections=100),
        DetectionDefaults(),
        tuple(map(str, range(80))),
    )
    # the reference keeps boxes that clipping has left without area, the server drops them
    reference = np.column_stack((wanted("detections"), wanted("labels")))
    reference = reference[(reference[:, 2:4] > reference[:, :2]).all(axis=1)]
    ours = np.column_stack((found.boxes_xyxy, found.scores, found.class_ids))[: len(reference)]
    assert len(reference) == 82
    for row in reference:
        assert np.isclose(ours, row, rtol=0, atol=1e-3).all(axis=1).any()


@pytest.mark.parametrize("name", ["deeplabv3_emo_1m", "pspnet_emo_1m"])
def test_a_segmenter_reproduces_the_reference_logits_and_classes(name: str) -> None:
    model = emo.create(name).eval()
    emo.load_upstream(model, upstream_state(name))
    with torch.no_grad():
        logits = model(network_input("parity.seg.a", 1, 512, 512)).numpy()
    wanted = expected(f"{name}.logits_every_3rd_class", "parity_heads.npz")
    np.testing.assert_allclose(logits[:, ::3], wanted, rtol=0, atol=2e-5)
    found = segment(logits[0], Geometry(ImageSize(512, 512), 1.0, 1.0), 512, 512)
    is_clear = np.unpackbits(expected(f"{name}.is_clear", "parity_heads.npz")).reshape(512, 512).astype(np.bool_)
    assert is_clear.mean() > 0.99
    wanted = expected(f"{name}.class_map", "parity_heads.npz")
    np.testing.assert_array_equal(found.class_map[is_clear], wanted[is_clear])
