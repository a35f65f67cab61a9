"""Checkpoint loader: weights with the authors' names or our own, in any wrapper, or an exported graph -> a model."""

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

import emo
from emo.checkpoints.onnx_weights import read_onnx_weights
from emo.checkpoints.upstream import mismatches, own_key, upstream_key
from emo.models.anchors import ANCHORS_PER_CELL as SSDLITE_ANCHORS
from emo.models.anchors import SIZES as ANCHOR_SIZES
from emo.models.backbone import KNOWN_WIDTHS, SIZE_OF_WIDTH
from emo.models.heads.model import Model
from emo.models.heads.retinanet import ANCHORS_PER_CELL as RETINANET_ANCHORS
from emo.models.heads.ssdlite import SIZES_KEY
from emo.models.preprocessing import authors_preprocessing, classifier_preprocessing, detector_preprocessing
from emo_serve.files import GIT_LFS_ADVICE, is_git_lfs_pointer
from emo_serve.manifest import Preprocessing

_AVERAGED = ("ema_state_dict", "state_dict_ema", "model_ema", "ema", "net_E")
_PLAIN = ("state_dict", "model", "net")
_WRAPPERS = ("module.", "_orig_mod.", "model.")  # DataParallel and averaging, torch.compile, Lightning
_COUNTERS = ("n_averaged", "steps")  # stored beside averaged weights
_NAMED = 3  # keys of each kind of mismatch that an error names


@dataclass(frozen=True, slots=True)
class _Head:
    """Recognition of a kind of head, and the tensor whose length is ``(classes + background) * anchors``."""

    mark: str
    classes: str
    anchors: int = 1
    background: int = 0


_HEADS = {
    "": _Head("head.weight", "head.weight"),
    "ssdlite_": _Head("bbox_head.cls_convs.0.1.weight", "bbox_head.cls_convs.0.1.weight", SSDLITE_ANCHORS, 1),
    "retinanet_": _Head("bbox_head.retina_cls.weight", "bbox_head.retina_cls.weight", RETINANET_ANCHORS),
    "deeplabv3_": _Head("decode_head.aspp_modules.0.conv.weight", "decode_head.conv_seg.weight"),
    "pspnet_": _Head("decode_head.psp_modules.0.1.conv.weight", "decode_head.conv_seg.weight"),
}
_OWN_HEADS = {
    "": _Head("norm.weight", "head.weight"),
    "ssdlite_": _Head("head.classify.0.1.weight", "head.classify.0.1.weight", SSDLITE_ANCHORS, 1),
    "retinanet_": _Head("head.classify_tower.0.0.weight", "head.classify.weight", RETINANET_ANCHORS),
    "deeplabv3_": _Head("head.mix.mean.0.weight", "head.classify.weight"),
    "pspnet_": _Head("head.mix.branches.0.0.weight", "head.classify.weight"),
}
_OWN_BACKBONE = "backbone.stages."


@dataclass(frozen=True, slots=True)
class Restored:
    """A model with its weights; ``labels`` is empty if its file has none."""

    architecture: str
    model: Model
    rule: Preprocessing
    labels: tuple[str, ...] = ()
    seed: int = 0


def restore(path: Path, side: int | None = None, architecture: str | None = None) -> Restored:
    """The model in a file, for an input of ``side`` pixels.

    The file is a checkpoint of our own runs, one with the authors' names or those of ``emo.create``, or a classifier
    that ``torch.onnx`` exported. Raise ValueError if it is none, or not ``architecture``.
    """
    if path.suffix == ".onnx":
        restored = _restore_exported(path, side)
    else:
        content = read_checkpoint(path)
        restored = restore_own(content, side) if is_own(content) else restore_state(content, side, architecture)
    if architecture not in {None, restored.architecture}:
        msg = f"{path} is {restored.architecture}, not {architecture}"
        raise ValueError(msg)
    return restored


def _restore_exported(path: Path, side: int | None) -> Restored:
    exported = read_onnx_weights(path)
    rule = authors_preprocessing(exported.architecture, side or exported.side)
    return Restored(exported.architecture, exported.model, rule)


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """The content of a ``.safetensors`` or PyTorch file.

    Raise ValueError if it is broken, or would have to run code, which the message names.
    """
    if is_git_lfs_pointer(path):
        msg = f"{path} is no checkpoint: {GIT_LFS_ADVICE}"
        raise ValueError(msg)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"(?:GLOBAL|class|function) ([\w.]+\.\w+)", str(error))
        if not wanted:
            msg = f"{path} is no checkpoint of PyTorch"
            raise ValueError(msg) from error
        msg = (
            f"{path} holds more than tensors and plain values: it wants {wanted[1]}, and loading what a file names "
            "could run any code; save its state dict alone where you trust it"
        )
        raise ValueError(msg) from error
    except (SafetensorError, RuntimeError, EOFError, LookupError) as error:
        reason, *_ = str(error).split("\n")
        msg = f"{path} is broken or no checkpoint: {reason}"
        raise ValueError(msg) from error
    if not isinstance(content, Mapping):
        msg = f"{path} holds a {type(content).__name__}, wanted is a dict of tensors"
        raise ValueError(msg)  # noqa: TRY004  # the file is wrong, not an argument
    return content


def is_own(content: Mapping[str, Any]) -> bool:
    """True for ``weights.pt`` or ``last.pt`` of one of our runs."""
    return content.keys() >= {"recipe", "names", "average"}


def restore_own(content: Mapping[str, Any], side: int | None = None) -> Restored:
    """The model of ``weights.pt`` or ``last.pt`` of one of our runs: its averaged weights.

    ``side`` (pixels) of the input; by default the one that training ended with.
    """
    recipe, names = content["recipe"], tuple(content["names"])
    model = emo.create(recipe["model"], len(names), tuple(recipe.get("anchor_sizes", ANCHOR_SIZES)))
    model.load_state_dict(own_weights(content))
    side = side or recipe["schedule"][-1][0]
    is_detector = recipe["model"].startswith("ssdlite_")
    preprocessing = detector_preprocessing(side) if is_detector else classifier_preprocessing(side)
    return Restored(recipe["model"], model, preprocessing, names, recipe["seed"])


def own_weights(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The averaged weights of one of our runs, by our own key names."""
    return {
        key.removeprefix("module."): tensor for key, tensor in content["average"].items() if key.startswith("module.")
    }


def restore_state(content: Mapping[str, Any], side: int | None = None, architecture: str | None = None) -> Restored:
    """The model whose tensors have the authors' names or ours, for an input of ``side`` pixels.

    Raise ValueError if it is none, or not ``architecture``.
    """
    state = unwrap(content)
    architecture = architecture or recognise(state)
    head = _heads_in(state)[architecture.rpartition("emo_")[0]]
    classes = None
    if head.classes in state and state[head.classes].ndim:
        classes = max(1, len(state[head.classes]) // head.anchors - head.background)
    sizes = tuple(state[SIZES_KEY].flatten().tolist()) if SIZES_KEY in state else ANCHOR_SIZES
    model = emo.create(architecture, classes, sizes)
    is_ours = has_own_names(state)
    kinds = mismatches(model, state, own_key if is_ours else upstream_key)
    if any(kinds):  # with the wrong model size there are hundreds
        first = [fault for kind in kinds for fault in kind[:_NAMED]]
        count = sum(map(len, kinds))
        msg = f"taken for {architecture}: {count} keys of the checkpoint do not fit, the first of each kind are: "
        raise ValueError(msg + "; ".join(first))
    if is_ours:
        model.load_state_dict(state)
    else:
        emo.load_upstream(model, state)
    return Restored(architecture, model, authors_preprocessing(architecture, side))


def has_own_names(state: Mapping[str, Tensor]) -> bool:
    """True for tensors of a model that ``emo.create`` made."""
    return any(key.startswith(_OWN_BACKBONE) for key in state)


def _heads_in(state: Mapping[str, Tensor]) -> Mapping[str, _Head]:
    return _OWN_HEADS if has_own_names(state) else _HEADS


def unwrap(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors without prefixes of wrappers; averaged weights if there are some, which is printed."""
    # mmengine swaps the two when saving: the averaged weights are the state dict
    exchanged = "meta" in content and "ema_state_dict" in content and "state_dict" in content
    if exchanged:
        print("taken: 'state_dict', where mmengine puts the averaged weights (EMA)")
    for key in (*(() if exchanged else _AVERAGED), *_PLAIN):
        if isinstance(content.get(key), Mapping) and content[key]:
            if key in _AVERAGED:
                print(f"taken: the averaged weights (EMA) in {key!r}")
            return unwrap(content[key])
    state = {key: tensor for key, tensor in content.items() if isinstance(tensor, Tensor) and key not in _COUNTERS}
    while wrapped := [wrapper for wrapper in _WRAPPERS if any(key.startswith(wrapper) for key in state)]:
        state = {key.removeprefix(wrapped[0]): tensor for key, tensor in state.items()}
    return state


def recognise(state: Mapping[str, Tensor]) -> str:
    """The name of the architecture, as ``emo.create`` takes it; raise ValueError if it is none of them."""
    heads = _heads_in(state)
    found = next((name for name, head in heads.items() if head.mark in state), None)
    if found is None:
        there = ", ".join(list(state)[:3]) or "no tensors at all"
        msg = f"no head of EMO among its {len(state)} tensors: there is {there}; wanted is one of " + ", ".join(
            head.mark for head in heads.values()
        )
        raise ValueError(msg)
    return found + size_of(state, "backbone." if found else "")


def size_of(state: Mapping[str, Tensor], prefix: str = "") -> str:
    """The name of the backbone whose keys begin with ``prefix``, as ``emo_1m``; raise ValueError if it is none.

    With our own names the prefix is always there, unless the backbone is by itself.
    """
    ours = [f"{_OWN_BACKBONE}4.0.shrink.weight", f"{_OWN_BACKBONE}4.0.shrink.weight".removeprefix("backbone.")]
    key = next((key for key in ours if key in state), f"{prefix}stage4.0.proj.conv.weight")
    width = len(state[key]) if key in state and state[key].ndim else None
    if width not in SIZE_OF_WIDTH:
        msg = f"no size of EMO has {key} of {width} channels; there are {KNOWN_WIDTHS}"
        raise ValueError(msg)
    return SIZE_OF_WIDTH[width]
