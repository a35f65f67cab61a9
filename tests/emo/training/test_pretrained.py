from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import emo
from emo.checkpoints.upstream import upstream_key, weights_of
from emo.models.anchors import SIZES
from emo.models.heads.model import Model
from emo.training.pretrained import initial_tensors, read_source

ROOT = Path(__file__).parents[3]
OWN = ROOT / "checkpoints" / "emo-1m.pt"


def upstream(model: Model) -> dict[str, Tensor]:
    return {upstream_key(model, key): tensor for key, tensor in model.state_dict().items()}


def backbone(model: Model) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in model.state_dict().items() if key.startswith("backbone.")}


def write(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def averaged(path: Path, model: Model) -> Path:
    zeros = {key: torch.zeros_like(tensor) for key, tensor in upstream(model).items()}
    wrapped = {f"module.{key}": tensor for key, tensor in upstream(model).items()}
    return write(path, {"state_dict": zeros, "ema_state_dict": {**wrapped, "n_averaged": torch.tensor(9)}})


def bare(path: Path, model: Model) -> Path:
    save_file(
        {key.removeprefix("backbone."): tensor for key, tensor in upstream(model).items() if "stage" in key}, path
    )
    return path


FORMS: dict[str, tuple[str, Callable[[Path, Model], Path]]] = {
    "the authors' file": ("emo_1m", lambda path, model: write(path / "a.pth", {"model": upstream(model)})),
    "averaged weights": ("emo_1m", lambda path, model: averaged(path / "b.pth", model)),
    "mmdetection": ("ssdlite_emo_1m", lambda path, model: write(path / "c.pth", {"state_dict": upstream(model)})),
    "mmsegmentation": ("pspnet_emo_1m", lambda path, model: write(path / "d.pth", {"state_dict": upstream(model)})),
    "a backbone alone": ("emo_1m", lambda path, model: bare(path / "e.safetensors", model)),
    "our own names": ("emo_1m", lambda path, model: write(path / "f.pth", model.state_dict())),
    "our own detector": (
        "ssdlite_emo_1m",
        lambda path, model: write(path / "g.pth", {"state_dict": model.state_dict()}),
    ),
    "our own segmenter": ("deeplabv3_emo_1m", lambda path, model: write(path / "h.pth", model.state_dict())),
    "our own backbone alone": ("emo_1m", lambda path, model: write(path / "i.pth", model.backbone.state_dict())),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("architecture", ["emo_1m", "ssdlite_emo_1m"])
def test_the_backbone_is_taken_from_every_form_of_file(form: str, architecture: str, tmp_path: Path) -> None:
    name, make = FORMS[form]
    torch.manual_seed(1)
    given = emo.create(name, 4)
    source = read_source(make(tmp_path, given))
    taken = initial_tensors(source, architecture, emo.create(architecture, 3), ("a", "b", "c"))
    for key, tensor in backbone(given).items():
        assert torch.equal(taken[key], tensor)


def test_a_classifier_gives_what_it_knows_of_the_classes_that_both_have(capsys: pytest.CaptureFixture[str]) -> None:
    source = read_source(OWN)
    model = emo.create("emo_1m", 3)
    names = ("another class", source.names[7], source.names[2])
    taken = initial_tensors(source, "emo_1m", model, names)
    assert taken.keys() == model.state_dict().keys()
    assert torch.equal(taken["head.weight"][1:], source.tensors["head.weight"][[7, 2]])
    assert torch.equal(taken["head.bias"][1:], source.tensors["head.bias"][[7, 2]])
    assert torch.equal(taken["head.weight"][0], model.state_dict()["head.weight"][0])
    assert "with those of 2 classes" in capsys.readouterr().out


def test_a_classifier_of_the_same_classes_gives_everything(capsys: pytest.CaptureFixture[str]) -> None:
    source = read_source(OWN)
    model = emo.create("emo_1m", len(source.names))
    taken = initial_tensors(source, "emo_1m", model, source.names)
    assert taken.keys() == model.state_dict().keys()
    assert torch.equal(taken["head.weight"], source.tensors["head.weight"])
    count = len(model.state_dict())
    assert f"{count} of {count} tensors, with those of {len(source.names)} classes" in capsys.readouterr().out


def test_a_classifier_of_other_classes_gives_all_but_what_tells_them_apart(capsys: pytest.CaptureFixture[str]) -> None:
    source = read_source(OWN)
    model = emo.create("emo_1m", len(source.names))
    taken = initial_tensors(source, "emo_1m", model, tuple(f"no {name}" for name in source.names))
    assert model.state_dict().keys() - taken.keys() == {"head.weight", "head.bias"}
    count = len(model.state_dict())
    assert f"{count - 2} of {count} tensors, without those of classes" in capsys.readouterr().out


def test_a_detector_of_other_classes_gives_all_but_what_tells_them_apart() -> None:
    source = read_source(ROOT / "checkpoints" / "ssdlite-emo-1m.pt")
    model = emo.create("ssdlite_emo_1m", 80, (24, *SIZES))
    others = tuple(map(str, range(80)))
    left = weights_of(model).keys() - initial_tensors(source, "ssdlite_emo_1m", model, others).keys()
    assert left == {f"head.classify.{level}.1.{kind}" for level in range(7) for kind in ("weight", "bias")}
    assert initial_tensors(source, "ssdlite_emo_1m", model, source.names).keys() == weights_of(model).keys()


def test_what_create_has_made_gives_all_but_what_tells_the_classes_apart(tmp_path: Path) -> None:
    given = emo.create("ssdlite_emo_2m", 3, (30, 60, 100, 150, 200, 250, 300))
    source = read_source(write(tmp_path / "net.pt", given.state_dict()))
    assert (source.architecture, source.size) == ("ssdlite_emo_2m", "emo_2m")
    model = emo.create("ssdlite_emo_2m", 3)
    left = weights_of(model).keys() - initial_tensors(source, "ssdlite_emo_2m", model, tuple("abc")).keys()
    assert left == {f"head.classify.{level}.1.{kind}" for level in range(6) for kind in ("weight", "bias")}


def test_another_size_is_refused_by_its_name(tmp_path: Path) -> None:
    source = read_source(write(tmp_path / "net.pth", upstream(emo.create("emo_2m", 4))))
    with pytest.raises(ValueError, match="has the backbone of emo_2m, and ssdlite_emo_1m is to be trained"):
        initial_tensors(source, "ssdlite_emo_1m", emo.create("ssdlite_emo_1m", 4), ("a",) * 4)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    state = upstream(emo.create("emo_1m", 4))
    state["stage1.0.proj.conv.weight"] = torch.ones(3)
    del state["stage2.0.proj.conv.weight"]
    source = read_source(write(tmp_path / "net.pth", state))
    with pytest.raises(
        ValueError, match=r"2 tensors do not fit.*1\.0\.shrink.weight is \(3,\).*2\.0\.shrink.* missing"
    ):
        initial_tensors(source, "emo_1m", emo.create("emo_1m", 4), ("a",) * 4)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    source = read_source(write(tmp_path / "resnet.pth", {"conv1.weight": torch.ones(2)}))
    with pytest.raises(ValueError, match=r"resnet\.pth has no backbone of emo_1m: \d+ tensors do not fit"):
        initial_tensors(source, "emo_1m", emo.create("emo_1m", 4), ("a",) * 4)


def test_an_exported_graph_is_refused_as_it_has_lost_what_training_needs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"its BatchNorms are folded; training starts from a checkpoint"):
        read_source(tmp_path / "net.onnx")
