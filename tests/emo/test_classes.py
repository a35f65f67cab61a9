from pathlib import Path

import pytest
import torch

import emo
from emo.__main__ import main
from emo.checkpoints.loader import Restored
from emo.export.classes import keep_classes
from emo.models.anchors import SIZES
from emo.models.heads.classifier import Classifier
from emo.models.heads.ssdlite import SSDLite
from emo.models.preprocessing import MEAN, STD
from emo_serve.labels import read_labels
from emo_serve.manifest import Preprocessing, read_manifest
from tests.emo.test_command_line import CARD

WEIGHTS = Path(__file__).parents[2] / "checkpoints" / "emo-1m.pt"
RULE = Preprocessing(mode="crop", height=32, width=32, resize=32, interpolation="bilinear", mean=MEAN, std=STD)


def test_the_classes_that_are_kept_score_as_if_there_had_been_no_others() -> None:
    model = emo.create("emo_1m", 4).eval()
    assert isinstance(model, Classifier)
    torch.nn.init.normal_(model.head.weight)
    picture = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        before = model(picture)[0]
        kept = keep_classes(Restored("emo_1m", model, RULE, ("cat", "dog", "ape", "car")), ["car", "cat"])
        assert kept.labels == ("car", "cat")
        assert torch.allclose(kept.model(picture)[0], before[[3, 0]], atol=1e-6)


def test_a_detector_finds_the_classes_that_are_kept_where_it_found_them() -> None:
    model = emo.create("ssdlite_emo_1m", 4, (24, *SIZES)).eval()
    assert isinstance(model, SSDLite)
    picture = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        _, before, deltas = model.raw(picture)
        kept = keep_classes(Restored("ssdlite_emo_1m", model, RULE, ("cat", "dog", "ape", "car")), ["car"]).model
        assert isinstance(kept, SSDLite)
        _, after, same = kept.raw(picture)
    assert torch.allclose(after, before[..., [3, 4]], atol=1e-6)
    assert torch.equal(same, deltas)
    assert kept.num_classes == 1


@pytest.mark.parametrize(
    ("name", "kept", "reason"),
    [
        ("emo_1m", ["cat", "unicorn"], "unicorn: not known"),
        ("emo_1m", ["cat"], "two classes or more"),
        ("retinanet_emo_1m", ["cat", "dog"], "only the classes of a classifier or of SSDLite"),
    ],
)
def test_classes_that_cannot_be_kept_are_refused(name: str, kept: list[str], reason: str) -> None:
    trained = Restored(name, emo.create(name, 2), RULE, ("cat", "dog"))
    with pytest.raises(ValueError, match=reason):
        keep_classes(trained, kept)


@pytest.mark.usefixtures("quick_export")
def test_trained_weights_are_exported_with_fewer_classes_and_at_another_side_than_they_learned(tmp_path: Path) -> None:
    card, classes, models = tmp_path / "card.toml", tmp_path / "classes.txt", tmp_path / "models"
    card.write_text(CARD)
    classes.write_text("goldfish\nkoala\n")
    export = ["export", "--checkpoint", str(WEIGHTS), "--card", str(card), "--classes", str(classes)]
    main([*export, "--side", "64", "--models", str(models), "--name", "two", "--version", "1"])
    assert read_labels(models / "two" / "1" / "labels.txt") == ("goldfish", "koala")
    assert read_manifest(models / "two" / "1" / "manifest.json").preprocessing.height == 64
