"""Checkpoints with the authors' key names -> our models: a pure key map, then strict loading."""

from collections.abc import Callable, Mapping

from torch import Tensor

from emo.models.heads.classifier import Classifier
from emo.models.heads.model import Model
from emo.models.heads.retinanet import RetinaNet
from emo.models.heads.segmenter import AtrousPyramid
from emo.models.heads.ssdlite import SIZES_KEY, SSDLite

_BLOCK_PARTS = {
    "attention.qk": "qk.conv",
    "expand.0": "v.conv",
    "convolution.0": "conv_local.conv",
    "convolution.1": "conv_local.norm",
    "squeeze_excite.reduce": "se.conv_reduce",
    "squeeze_excite.expand": "se.conv_expand",
    "shrink": "proj.conv",
}
_UNIT_PARTS = {"0": "conv", "1": "bn"}
_EXTRA_PARTS = {"0": "0", "1": "1.depthwise_conv", "2": "1.pointwise_conv"}
_BRANCHES = {"classify": "cls_convs", "regress": "reg_convs"}
_RETINA_LAST = {"classify": "retina_cls", "regress": "retina_reg"}


def upstream_key(model: Model, key: str) -> str:
    """The authors' name of one tensor of ``model``.

    Names are those of the classifier's file, of mmdetection for a detector, of mmsegmentation for a segmenter.
    """
    part, *names = key.split(".")
    if key == SIZES_KEY:
        return key
    if part == "backbone":
        return ("" if isinstance(model, Classifier) else "backbone.") + _backbone_key(model, names)
    match model:
        case Classifier():
            return f"norm.{key}" if part == "norm" else key
        case SSDLite():
            return _ssdlite_key(part, names)
        case RetinaNet():
            return _retinanet_key(part, names)
    return _segmenter_key(part, names, isinstance(model.head.mix, AtrousPyramid))


def _ssdlite_key(part: str, names: list[str]) -> str:
    match part, names:
        case "neck", [_, level, unit, layer, tensor]:
            return f"neck.extra_layers.{level}.{_EXTRA_PARTS[unit]}.{_UNIT_PARTS[layer]}.{tensor}"
        case "fine", [_, tensor]:  # the authors have no such level
            return f"neck.fine.{tensor}"
        case _, [branch, level, "0", layer, tensor]:
            return f"bbox_head.{_BRANCHES[branch]}.{level}.0.{_UNIT_PARTS[layer]}.{tensor}"
    branch, level, _, tensor = names
    return f"bbox_head.{_BRANCHES[branch]}.{level}.1.{tensor}"


def _retinanet_key(part: str, names: list[str]) -> str:
    match part, names:
        case "neck", ["lateral", level, tensor]:
            return f"neck.lateral_convs.{level}.conv.{tensor}"
        case "neck", [kind, level, tensor]:  # extra levels continue the numbers of the backbone's
            return f"neck.fpn_convs.{int(level) + (3 if kind == 'extras' else 0)}.conv.{tensor}"
        case _, [tower, layer, _, tensor]:
            return f"bbox_head.{_BRANCHES[tower.removesuffix('_tower')]}.{layer}.conv.{tensor}"
    branch, tensor = names
    return f"bbox_head.{_RETINA_LAST[branch]}.{tensor}"


def _segmenter_key(part: str, names: list[str], atrous: bool) -> str:  # noqa: FBT001  # one of two kinds of head
    head = "auxiliary_head" if part == "auxiliary" else "decode_head"
    match names:
        case ["classify", tensor]:
            return f"{head}.conv_seg.{tensor}"
        case ["mix", layer, tensor]:
            return f"{head}.convs.0.{_UNIT_PARTS[layer]}.{tensor}"
        case ["mix", "mean", layer, tensor]:
            return f"{head}.image_pool.1.{_UNIT_PARTS[layer]}.{tensor}"
        case ["mix", "branches", number, layer, tensor]:
            branch = f"aspp_modules.{number}" if atrous else f"psp_modules.{number}.1"
            return f"{head}.{branch}.{_UNIT_PARTS[layer]}.{tensor}"
    *_, layer, tensor = names
    return f"{head}.bottleneck.{_UNIT_PARTS[layer]}.{tensor}"


def own_key(model: Model, key: str) -> str:
    """Our own name of one tensor; the counterpart of ``upstream_key``."""
    del model
    return key


def weights_of(model: Model) -> dict[str, Tensor]:
    """The state dict without the anchor sizes, which are not learned and in no file of the authors."""
    return {key: tensor for key, tensor in model.state_dict().items() if key != SIZES_KEY}


def mismatches(
    model: Model, state_dict: Mapping[str, Tensor], name_of: Callable[[Model, str], str] = upstream_key
) -> list[list[str]]:
    """The missing, the extra and the misshapen keys of a state dict with the authors' keys, a list of each kind."""
    own = weights_of(model)
    wanted = {name_of(model, key): key for key in own}
    return [
        [f"missing: {key}" for key in wanted if key not in state_dict],
        [f"extra: {key}" for key in state_dict if key not in wanted and key != SIZES_KEY],
        [
            f"misshapen: {theirs} is {tuple(state_dict[theirs].shape)}, wants {tuple(own[ours].shape)}"
            for theirs, ours in wanted.items()
            if theirs in state_dict and state_dict[theirs].shape != own[ours].shape
        ],
    ]


def load_upstream(model: Model, state_dict: Mapping[str, Tensor]) -> None:
    """Copy a state dict with the authors' keys into ``model``.

    Raise ValueError, which names every missing, extra or misshapen key; the model is then unchanged.
    """
    faults = [fault for kind in mismatches(model, state_dict) for fault in kind]
    if faults:
        msg = f"{len(faults)} keys of the checkpoint do not fit the model: " + "; ".join(faults)
        raise ValueError(msg)
    wanted = {upstream_key(model, key): key for key in weights_of(model)}
    model.load_state_dict({ours: state_dict[theirs] for theirs, ours in wanted.items()}, strict=True)


def _backbone_key(model: Model, names: list[str]) -> str:
    """The authors' name of ``stages.<stage>.<block>.<part...>.<tensor>``."""
    _, stage, block, *part, tensor = names
    if stage == "0" and block in {"0", "1"}:  # the stem's convolution and norm
        return f"stage0.0.convs.0.{block}.{tensor}"
    block = "1" if stage == "0" else block
    name = ".".join(part)
    if name == "norm":
        attends = model.backbone.config.attention[int(stage) - 1]
        return f"stage{stage}.{block}.norm.{'norm.' if attends else ''}{tensor}"
    return f"stage{stage}.{block}.{_BLOCK_PARTS[name]}.{tensor}"
