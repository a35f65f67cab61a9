from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from emo.export.exporter import export
from emo.export.predict import onnx_predict, torch_predict
from emo.models.backbone import EMOConfig
from emo.models.heads.classifier import Classifier
from emo.models.heads.model import Model
from emo.models.heads.retinanet import RetinaNet
from emo.models.heads.segmenter import Segmenter
from emo.models.heads.ssdlite import SSDLite
from emo.models.preprocessing import classifier_preprocessing, detector_preprocessing
from emo_serve.engine.execution.session import OrtSession
from emo_serve.engine.registry.self_test import self_test
from emo_serve.engine.repository.artefacts import scan
from emo_serve.settings import Settings
from emo_serve.vision.image import ImageLimits
from tests.support import CARD

SMALL = EMOConfig((1, 2, 2, 2), 8, (8, 16, 16, 24), (2.0, 2.5, 3.0, 3.5), (8, 8, 8, 8))
"""Every kind of block that EMO has, and none of them more often than needed: exporting takes a while for each."""


@dataclass(frozen=True)
class Exported:
    repository: Path
    classifier: torch.nn.Module
    detector: torch.nn.Module
    others: Mapping[str, torch.nn.Module]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    repository = tmp_path_factory.mktemp("models")
    torch.manual_seed(1)
    classifier, detector = Classifier(SMALL, 3).eval(), SSDLite(SMALL, 2).eval()
    rule = classifier_preprocessing(64)
    export(classifier, ("a", "b", "c"), rule, CARD, repository, "toy", "1", lambda _predict: {"top1": 0.123456})
    export(detector, ("d", "e"), detector_preprocessing(96), CARD, repository, "toy-boxes", "1")
    others: dict[str, Model] = {
        "retinanet": RetinaNet(SMALL, 2),
        "deeplabv3": Segmenter(SMALL, 2, "deeplabv3"),
        "pspnet": Segmenter(SMALL, 2, "pspnet"),
    }
    fit = detector_preprocessing(96).model_copy(update={"mode": "fit", "width": 128})
    for name, model in others.items():
        export(model.eval(), ("d", "e"), fit, CARD, repository, name, "1")
    return Exported(repository, classifier, detector, others)


def test_the_server_accepts_what_is_exported(exported: Exported) -> None:
    found = scan(exported.repository)
    assert not found.failures
    assert [(artefact.manifest.name, artefact.manifest.task) for artefact in found.artefacts] == [
        ("deeplabv3", "segment"),
        ("pspnet", "segment"),
        ("retinanet", "detect"),
        ("toy", "classify"),
        ("toy-boxes", "detect"),
    ]
    for artefact in found.artefacts:
        session = OrtSession(artefact.model_path, artefact.manifest, Settings().session)
        self_test(artefact, session, ImageLimits(), 4)


def test_the_card_carries_what_was_measured_with_the_onnx_file(exported: Exported) -> None:
    cards = {artefact.manifest.name: artefact.manifest.card for artefact in scan(exported.repository).artefacts}
    assert cards["toy"].metrics == {"top1": 0.1235}


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_graph_answers_as_pytorch_does_at_any_batch(exported: Exported, count: int) -> None:
    images = np.random.default_rng(count).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)
    (scores,) = onnx_predict(exported.repository / "toy" / "1" / "model.onnx")(images)
    (wanted,) = torch_predict(exported.classifier)(images)
    np.testing.assert_allclose(scores, wanted, atol=1e-5)
    images = np.random.default_rng(count).integers(0, 256, (count, 96, 96, 3), dtype=np.uint8)
    boxes, scores = onnx_predict(exported.repository / "toy-boxes" / "1" / "model.onnx")(images)
    wanted_boxes, wanted_scores = torch_predict(exported.detector)(images)
    np.testing.assert_allclose(boxes, wanted_boxes, atol=1e-3)
    np.testing.assert_allclose(scores, wanted_scores, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("name", ["retinanet", "deeplabv3", "pspnet"])
def test_the_other_heads_answer_as_pytorch_does_at_any_batch(exported: Exported, name: str, count: int) -> None:
    images = np.random.default_rng(count).integers(0, 256, (count, 96, 128, 3), dtype=np.uint8)
    answers = onnx_predict(exported.repository / name / "1" / "model.onnx")(images)
    for answer, wanted in zip(answers, torch_predict(exported.others[name])(images), strict=True):
        np.testing.assert_allclose(answer, wanted, rtol=0, atol=1e-5 * max(1.0, float(np.abs(wanted).max())))


def test_the_file_does_not_tell_where_it_was_made(exported: Exported) -> None:
    content = (exported.repository / "toy" / "1" / "model.onnx").read_bytes()
    assert b".py" not in content
    assert b"stack_trace" not in content


def test_a_version_is_never_overwritten(exported: Exported) -> None:
    before = (exported.repository / "toy" / "1" / "manifest.json").read_bytes()
    with pytest.raises(FileExistsError, match="choose another version"):
        export(
            Classifier(SMALL, 3),
            ("a", "b", "c"),
            classifier_preprocessing(64),
            CARD,
            exported.repository,
            "toy",
            "1",
        )
    assert (exported.repository / "toy" / "1" / "manifest.json").read_bytes() == before


def test_nothing_is_written_when_labels_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 labels for 3 classes"):
        export(Classifier(SMALL, 3), ("a", "b"), classifier_preprocessing(64), CARD, tmp_path, "toy", "1")
    assert not any(tmp_path.rglob("*"))


class Restless(SSDLite):
    """Answers otherwise each time, so that no export of it can be right."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        boxes, scores = super().forward(x)
        return boxes, scores + (0.0 if torch.compiler.is_exporting() else 0.01)


def test_nothing_is_written_when_the_graph_differs_from_pytorch(tmp_path: Path) -> None:
    model = Restless(SMALL, 2)
    with pytest.raises(ValueError, match=r"differs from PyTorch by 0\.01, allowed is 1e-05"):
        export(model, ("d", "e"), detector_preprocessing(96), CARD, tmp_path, "toy", "1")
    assert not list(tmp_path.rglob("*"))
