import argparse
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import emo
from app.manifest import MANIFEST_FILE, read_manifest
from emo.__main__ import main
from emo.checkpoint import upstream_key
from emo.importing import Origin, Target, import_file, usual_labels
from emo.restoring import read_checkpoint, recognise, restore_own, restore_upstream, serving_rule, unwrap
from tests.emo.parity import upstream_state

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", emo.MODEL_NAMES)
def test_every_architecture_is_recognised_by_its_tensors_with_any_number_of_classes(name: str) -> None:
    model = emo.create(name, 7)
    state = {upstream_key(model, key): tensor for key, tensor in model.state_dict().items()}
    restored = restore_upstream(state)
    assert restored.architecture == name
    assert restored.model.num_classes == 7


@pytest.mark.parametrize("key", ["state_dict", "model", "net"])
@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
def test_what_wraps_the_tensors_and_their_names_is_taken_off(key: str, prefix: str) -> None:
    weight = torch.ones(2)
    assert unwrap({key: {f"{prefix}head.weight": weight}, "epoch": 3, "optimizer": {}}) == {"head.weight": weight}


@pytest.mark.parametrize("key", ["ema", "model_ema", "state_dict_ema", "ema_state_dict", "net_E"])
def test_averaged_weights_are_preferred_and_named(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    plain, averaged = torch.zeros(2), torch.ones(2)
    content = {
        "state_dict": {"head.weight": plain},
        key: {"n_averaged": torch.tensor(5), "module.head.weight": averaged},
    }
    assert unwrap(content) == {"head.weight": averaged}
    assert f"averaged weights (EMA) in '{key}'" in capsys.readouterr().out


def test_averaged_weights_that_are_absent_are_not_missed() -> None:
    weight = torch.ones(2)
    assert unwrap({"ema": None, "model_ema": {}, "model": {"head.weight": weight}}) == {"head.weight": weight}


def test_mmengine_keeps_the_averaged_weights_in_the_state_dict(capsys: pytest.CaptureFixture[str]) -> None:
    plain, averaged = torch.zeros(2), torch.ones(2)
    content = {
        "meta": {"epoch": 3},
        "state_dict": {"head.weight": averaged},
        "ema_state_dict": {"steps": torch.tensor(5), "module.head.weight": plain},
    }
    assert unwrap(content) == {"head.weight": averaged}
    assert "mmengine" in capsys.readouterr().out


def test_safetensors_are_read(tmp_path: Path) -> None:
    state = upstream_state("emo_1m")
    save_file(state, tmp_path / "net.safetensors")
    restored = restore_upstream(read_checkpoint(tmp_path / "net.safetensors"))
    assert torch.equal(restored.model.state_dict()["head.weight"], state["head.weight"])


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_would_run_code_is_refused_by_the_name_of_what_it_wants(tmp_path: Path) -> None:
    file, mark = tmp_path / "net.pth", tmp_path / "was here"
    torch.save({"state_dict": {}, "hook": Bomb(mark)}, file)
    with pytest.raises(ValueError, match=r"it wants posix\.mkdir"):
        read_checkpoint(file)
    assert not mark.exists()


def test_a_harmless_class_in_a_pickle_is_refused_by_name_too(tmp_path: Path) -> None:
    file = tmp_path / "net.pth"
    torch.save({"state_dict": {}, "args": argparse.Namespace(lr=0.1)}, file)
    with pytest.raises(ValueError, match=r"it wants argparse\.Namespace"):
        read_checkpoint(file)


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04" + bytes(200)])
def test_a_file_that_is_no_checkpoint_is_refused_by_its_name(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        read_checkpoint(tmp_path / name)


def test_a_checkpoint_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "net.pth"
    torch.save({"head.weight": torch.ones(1000)}, file)
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(ValueError, match="broken or no checkpoint"):
        read_checkpoint(file)


def test_a_list_of_tensors_is_refused(tmp_path: Path) -> None:
    torch.save([torch.ones(1)], tmp_path / "net.pth")
    with pytest.raises(ValueError, match="holds a list, wanted is a dict"):
        read_checkpoint(tmp_path / "net.pth")


def test_a_model_without_a_head_of_emo_is_told_what_was_looked_for() -> None:
    with pytest.raises(ValueError, match=r"no head of EMO among its 1 tensors: there is fc\.weight; wanted"):
        recognise({"fc.weight": torch.ones(2)})


def test_a_size_that_does_not_exist_is_refused_with_those_that_do() -> None:
    state = {"head.weight": torch.ones(2, 99), "stage4.0.proj.conv.weight": torch.ones(99, 4, 1, 1)}
    with pytest.raises(ValueError, match=r"of 99 channels; there are 168 \(emo_1m\), 200 \(emo_2m\)"):
        recognise(state)


def test_another_model_than_asked_for_is_refused_with_the_first_keys_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, models = tmp_path / "net.pth", tmp_path / "models"
    torch.save(upstream_state("emo_1m"), file)
    with pytest.raises(SystemExit) as caught:
        main(["import", str(file), "--model", "emo-5m", "--name", "mine", "--models", str(models)])
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert "taken for emo_5m" in message
    assert "missing: stage1.2.norm.weight" in message
    assert "misshapen: stage1.0." in message
    assert len(message) < 1500
    assert not models.exists()


@pytest.mark.parametrize("name", ["../mine", "Mine", ""])
def test_a_name_that_no_model_can_have_is_refused_before_the_file_is_read(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a name must match"):
        import_file(tmp_path / "none.pth", Target(tmp_path, name, "1"), Origin())


def test_our_own_weights_bring_their_names_and_their_input() -> None:
    content = read_checkpoint(ROOT / "checkpoints" / "ssdlite-emo-1m.pt")
    restored = restore_own(content)
    shipped = read_manifest(ROOT / "models" / "ssdlite-emo-1m" / "1" / MANIFEST_FILE)
    assert restored.architecture == "ssdlite_emo_1m"
    assert restored.labels == ("bus", "car", "motorbike", "person", "truck")
    assert restored.rule == shipped.preprocessing
    assert restore_own(content, 256).rule.height == 256


def test_a_classifier_sees_pictures_as_in_the_paper_and_others_as_the_authors_test() -> None:
    rule = serving_rule("emo_1m")
    assert (rule.mode, rule.resize, rule.height, rule.width, rule.interpolation) == ("crop", 256, 224, 224, "bicubic")
    others = {name: serving_rule(f"{name}_emo_1m") for name in ("ssdlite", "retinanet", "deeplabv3", "pspnet")}
    assert {name: (rule.mode, rule.height) for name, rule in others.items()} == {
        "ssdlite": ("stretch", 320),
        "retinanet": ("fit", 800),
        "deeplabv3": ("fit", 512),
        "pspnet": ("fit", 512),
    }


@pytest.mark.parametrize(
    ("task", "count", "first", "last"),
    [
        ("classify", 1000, "tench", "toilet tissue"),
        ("detect", 80, "person", "toothbrush"),
        ("segment", 150, "wall", "flag"),
        ("classify", 80, "class 0", "class 79"),
    ],
)
def test_classes_have_the_usual_names_where_their_number_is_right(
    task: str, count: int, first: str, last: str, capsys: pytest.CaptureFixture[str]
) -> None:
    names = usual_labels(task, count)
    assert (len(names), names[0], names[-1]) == (count, first, last)
    assert ("they are numbered" in capsys.readouterr().out) == (first == "class 0")
