"""A detector with a seventh level, of stride 8, goes all the ways that the one of six goes."""

from pathlib import Path

import pytest
import torch

import emo
from emo.__main__ import main
from emo.checkpoints.loader import restore
from emo.checkpoints.upstream import weights_of
from emo.models.anchors import SIZES, cell_anchors, grid_anchors
from emo.models.heads.ssdlite import SSDLite
from emo.training.pretrained import initial_tensors, read_source
from tests.emo.datasets import write_coco

FINE = (24, *SIZES)
MAPS = [(20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]


def test_its_anchors_follow_those_of_the_other_levels() -> None:
    plain, fine = grid_anchors(MAPS), grid_anchors([*MAPS, (40, 40)], FINE)
    assert len(plain) == 3234
    assert len(fine) == 3234 + 6400
    assert torch.equal(fine[:3234], plain)
    first = fine[3234:3238]
    assert torch.equal(first, cell_anchors(6, FINE))
    sides = first[:, 2:] - first[:, :2]
    torch.testing.assert_close(sides[:2], torch.tensor([[24.0, 24.0], [1152.0**0.5] * 2]))
    torch.testing.assert_close(sides[2:, 1] / sides[2:, 0], torch.tensor([1 / 2, 2.0]))
    torch.testing.assert_close((first[:, :2] + first[:, 2:]) / 2, torch.full((4, 2), 4.0))
    torch.testing.assert_close(fine[3238:3242] - first, torch.tensor([[8.0, 0.0, 8.0, 0.0]]).expand(4, 4))


def test_more_levels_than_there_are_maps_are_refused() -> None:
    with pytest.raises(ValueError, match="or one more in front for a level of stride 8"):
        emo.create("ssdlite_emo_1m", 3, (12, *FINE))


def test_it_starts_with_all_that_a_detector_of_six_levels_knows(tmp_path: Path) -> None:
    torch.save(emo.create("ssdlite_emo_1m", 5).state_dict(), tmp_path / "six.pt")
    source = read_source(tmp_path / "six.pt")
    model = emo.create("ssdlite_emo_1m", 5, FINE)
    taken = initial_tensors(source, "ssdlite_emo_1m", model, source.names)
    left = weights_of(model).keys() - taken.keys()
    assert {key.rsplit(".", 1)[0] for key in left} == {
        "fine.lateral",
        *(f"head.{branch}.6.{layer}" for branch in ("classify", "regress") for layer in ("0.0", "0.1", "1")),
    }
    plain = emo.create("ssdlite_emo_1m", 5)
    plain.load_state_dict(initial_tensors(source, "ssdlite_emo_1m", plain, source.names))
    model.load_state_dict(taken, strict=False)
    picture = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        boxes, scores = plain.eval()(picture)
        more_boxes, more_scores = model.eval()(picture)
    assert more_boxes.shape[1] == boxes.shape[1] + 4 * 12 * 12
    torch.testing.assert_close(more_boxes[:, : boxes.shape[1]], boxes)
    torch.testing.assert_close(more_scores[:, : boxes.shape[1]], scores)


def test_its_state_dict_alone_is_recognised(tmp_path: Path) -> None:
    model = emo.create("ssdlite_emo_1m", 3, FINE).eval()
    torch.save(model.state_dict(), tmp_path / "net.pt")
    restored = restore(tmp_path / "net.pt", 64).model.eval()
    assert isinstance(restored, SSDLite)
    with torch.no_grad():
        for one, other in zip(model(torch.ones(1, 3, 64, 64)), restored(torch.ones(1, 3, 64, 64)), strict=True):
            assert torch.equal(one, other)


@pytest.mark.usefixtures("quick_export")
def test_it_is_trained_exported_and_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_coco(tmp_path / "data")
    train = ["train", "detect", "--data", str(data), "--schedule", "96x1", "--anchor-sizes", ",".join(map(str, FINE))]
    assert main([*train, "--out", str(tmp_path / "run"), "--models", str(tmp_path / "models")]) == 0
    capsys.readouterr()
    figures = []
    for what in (tmp_path / "models" / "run" / "1", tmp_path / "run" / "weights.pt"):
        assert main(["evaluate", str(what), "--data", str(data)]) == 0
        figures.append(dict(line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines()))
    exported, trained = (float(found["ap50".rjust(16)]) for found in figures)
    assert exported == pytest.approx(trained, abs=1e-3)
