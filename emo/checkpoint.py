"""Checkpoints with the authors' key names -> our models: a pure key map, then strict loading."""

from collections.abc import Mapping

from torch import Tensor

from emo.heads.classifier import Classifier
from emo.heads.ssdlite import SSDLite

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


def upstream_key(model: Classifier | SSDLite, key: str) -> str:
    """The authors' name of one tensor of ``model``: the classifier's, or mmdetection's for a detector."""
    names = key.split(".")
    match names:
        case ["backbone", *rest]:
            prefix = "backbone." if isinstance(model, SSDLite) else ""
            return prefix + _backbone_key(model, rest)
        case ["norm", tensor]:
            return f"norm.norm.{tensor}"
        case ["neck", "extras", level, unit, layer, tensor]:
            return f"neck.extra_layers.{level}.{_EXTRA_PARTS[unit]}.{_UNIT_PARTS[layer]}.{tensor}"
        case ["head", branch, level, "0", layer, tensor]:
            return f"bbox_head.{_BRANCHES[branch]}.{level}.0.{_UNIT_PARTS[layer]}.{tensor}"
        case ["head", branch, level, "1", tensor]:
            return f"bbox_head.{_BRANCHES[branch]}.{level}.1.{tensor}"
    return key  # the classifier's linear layer


def load_upstream(model: Classifier | SSDLite, state_dict: Mapping[str, Tensor]) -> None:
    """Copy a state dict with the authors' keys into ``model``.

    Raise ValueError, which names every missing, extra or misshapen key; the model is then unchanged.
    """
    own = model.state_dict()
    wanted = {upstream_key(model, key): key for key in own}
    faults = [f"missing: {key}" for key in wanted if key not in state_dict]
    faults += [f"extra: {key}" for key in state_dict if key not in wanted]
    faults += [
        f"misshapen: {theirs} is {tuple(state_dict[theirs].shape)}, wants {tuple(own[ours].shape)}"
        for theirs, ours in wanted.items()
        if theirs in state_dict and state_dict[theirs].shape != own[ours].shape
    ]
    if faults:
        msg = f"{len(faults)} keys of the checkpoint do not fit the model: " + "; ".join(faults)
        raise ValueError(msg)
    model.load_state_dict({ours: state_dict[theirs] for theirs, ours in wanted.items()}, strict=True)


def _backbone_key(model: Classifier | SSDLite, names: list[str]) -> str:
    """Of ``stages.<stage>.<block>.<part...>.<tensor>``."""
    _, stage, block, *part, tensor = names
    if stage == "0" and block in {"0", "1"}:  # the stem's convolution and norm
        return f"stage0.0.convs.0.{block}.{tensor}"
    block = "1" if stage == "0" else block
    name = ".".join(part)
    if name == "norm":
        attends = model.backbone.config.attention[int(stage) - 1]
        return f"stage{stage}.{block}.norm.{'norm.' if attends else ''}{tensor}"
    return f"stage{stage}.{block}.{_BLOCK_PARTS[name]}.{tensor}"
