import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import emo
from emo.__main__ import main
from emo.checkpoints.loader import read_checkpoint, recognise, restore, restore_own, restore_state, unwrap
from emo.checkpoints.upstream import upstream_key
from emo.export.checkpoint_import import Origin, Target, import_file, usual_labels
from emo.export.predict import onnx_predict, torch_predict
from emo.models.preprocessing import authors_preprocessing
from emo_serve.manifest import MANIFEST_FILE, read_manifest
from tests.emo.parity import upstream_state

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", emo.MODEL_NAMES)
def test_every_architecture_is_recognised_by_its_tensors_with_any_number_of_classes(name: str) -> None:
    model = emo.create(name, 7)
    state = {upstream_key(model, key): tensor for key, tensor in model.state_dict().items()}
    restored = restore_state(state)
    assert restored.architecture == name
    assert restored.model.num_classes == 7


SIZES = (30, 60, 100, 150, 200, 250, 300)


@pytest.mark.parametrize(
    ("name", "classes"), [*((name, 7) for name in emo.MODEL_NAMES), ("emo_1m", 1), ("ssdlite_emo_1m", 1)]
)
def test_what_create_has_made_is_restored_from_its_state_dict_alone(name: str, classes: int) -> None:
    model = emo.create(name, classes, SIZES).eval()
    restored = restore_state(model.state_dict())
    assert restored.architecture == name
    assert restored.model.num_classes == classes
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(restored.model.eval()(images), model(images))


@pytest.mark.parametrize(
    "form", ["net.pth", "net.safetensors", "state_dict.pt", "module.pt", "lightning.ckpt", "compiled.pt"]
)
@pytest.mark.parametrize("name", ["emo_1m", "ssdlite_emo_1m"])
def test_the_state_dict_may_be_kept_in_all_the_usual_ways(name: str, form: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = emo.create(name, 3, SIZES)
    state, file = model.state_dict(), tmp_path / form
    prefix = {"module.pt": "module.", "lightning.ckpt": "model.", "compiled.pt": "_orig_mod.module."}.get(form, "")
    renamed = {prefix + key: tensor for key, tensor in state.items()}
    if form == "net.safetensors":
        save_file(state, file)
    else:
        torch.save({"state_dict": renamed, "epoch": 3} if "_" in form or prefix == "model." else renamed, file)
    restored = restore(file)
    assert restored.architecture == name
    assert all(torch.equal(tensor, state[key]) for key, tensor in restored.model.state_dict().items())


@pytest.mark.parametrize(
    ("name", "side", "task"),
    [
        ("emo_1m", "64", "classify"),
        ("ssdlite_emo_1m", "320", "detect"),
        ("pspnet_emo_1m", "64", "segment"),
    ],
)
def test_a_state_dict_of_create_becomes_a_model_of_the_repository(
    name: str,
    side: str,
    task: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    if task != "segment":  # the older exporter does not know all that a pyramid is made of
        request.getfixturevalue("quick_export")
    model = emo.create(name, 3, SIZES).eval()
    torch.save(model.state_dict(), tmp_path / "net.pt")
    command = ["import", str(tmp_path / "net.pt"), "--name", "mine", "--side", side]
    assert main([*command, "--models", str(tmp_path / "models")]) == 0
    assert f"recognised: {name}, {task}, 3 classes" in capsys.readouterr().out
    pixels = np.random.default_rng(0).integers(0, 256, (1, int(side), int(side), 3), np.uint8)
    wanted = torch_predict(model)(pixels)
    given = onnx_predict(tmp_path / "models" / "mine" / "1" / "model.onnx")(pixels)
    for found, want in zip(given, wanted, strict=True):
        np.testing.assert_allclose(found, want, atol=1e-2)


@pytest.mark.usefixtures("quick_export")
def test_export_takes_a_bare_state_dict_with_the_names_in_a_file(tmp_path: Path) -> None:
    torch.save({"state_dict": emo.create("emo_1m", 3).state_dict()}, tmp_path / "net.pt")
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    keys = ("training_data", "recipe", "measured_on", "intended_use", "terms")
    (tmp_path / "card.toml").write_text("".join(f'{key} = "x"\n' for key in keys))
    files = {"checkpoint": "net.pt", "card": "card.toml", "labels": "labels.txt", "models": "models"}
    command = [word for option, name in files.items() for word in (f"--{option}", str(tmp_path / name))]
    assert main(["export", *command, "--name", "mine", "--version", "1"]) == 0
    assert (tmp_path / "models" / "mine" / "1" / "labels.txt").read_text() == "a\nb\nc\n"


def test_a_state_dict_of_create_that_lacks_something_is_told_by_our_own_names() -> None:
    state = emo.create("emo_1m", 3).state_dict()
    state["backbone.stages.0.0.weight"] = torch.ones(3)
    del state["head.bias"]
    with pytest.raises(
        ValueError, match=r"taken for emo_1m: 2 keys .*missing: head\.bias; misshapen: backbone\.stages"
    ):
        restore_state(state)


def test_files_from_before_the_anchor_sizes_were_kept_are_read_and_others_than_the_models_are_not() -> None:
    state = emo.create("ssdlite_emo_1m", 3, SIZES).state_dict()
    with pytest.raises(RuntimeError, match=r"the anchor sizes are \(30, .*those of the model \(48, "):
        emo.create("ssdlite_emo_1m", 3).load_state_dict(state)
    del state["anchor_sizes"]
    emo.create("ssdlite_emo_1m", 3, SIZES).load_state_dict(state)


@pytest.mark.parametrize("key", ["state_dict", "model", "net"])
@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod.", "_orig_mod.module.", "model."])
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
    restored = restore_state(read_checkpoint(tmp_path / "net.safetensors"))
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


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors", "net.onnx"])
def test_what_git_lfs_leaves_in_a_clone_is_called_that(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 5\n")
    with pytest.raises(ValueError, match="`git lfs pull` fetches"):
        restore(tmp_path / name)


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
    shipped = read_manifest(ROOT / "models" / "ssdlite-emo-1m" / "2" / MANIFEST_FILE)
    assert restored.architecture == "ssdlite_emo_1m"
    assert restored.labels == usual_labels("detect", 80)
    assert restored.rule == shipped.preprocessing
    assert restore_own(content, 256).rule.height == 256


def test_a_classifier_sees_pictures_as_in_the_paper_and_others_as_the_authors_test() -> None:
    rule = authors_preprocessing("emo_1m")
    assert (rule.mode, rule.resize, rule.height, rule.width, rule.interpolation) == ("crop", 256, 224, 224, "bicubic")
    others = {name: authors_preprocessing(f"{name}_emo_1m") for name in ("ssdlite", "retinanet", "deeplabv3", "pspnet")}
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
