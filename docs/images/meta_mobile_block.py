"""Draw docs/images/meta-mobile-block.png: python docs/images/meta_mobile_block.py (needs `make setup-torch`)."""

from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl

mpl.use("agg")
import torch
from matplotlib import pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from emo.models.irmb import EfficientOperator, MetaMobileBlock, layer_norm

CHANNELS, SIDE = 80, 14
COLOURS = {
    "norm": "#dddddd",
    "attention": "#f4b183",
    "expand": "#9dc3e6",
    "convolution": "#a9d18e",
    "shrink": "#9dc3e6",
}


class Instance(NamedTuple):
    """A block, and what is written into its parts; None: it has no such part."""

    title: str
    block: MetaMobileBlock
    words: dict[str, str | None]


def block(ratio: float, operator: EfficientOperator, *, norm: bool, bias: bool, activation: type) -> MetaMobileBlock:
    """The block of one column."""
    norm_layer = layer_norm if norm else None
    return MetaMobileBlock(CHANNELS, CHANNELS, ratio, operator, norm=norm_layer, activation=activation, bias=bias)


def instances() -> list[Instance]:
    """The columns of the figure."""
    attend = EfficientOperator(kernel=None, head_width=CHANNELS, window=SIDE)
    mobile = EfficientOperator(kernel=3, activation=nn.ReLU6, skip=False)
    both = EfficientOperator(kernel=5, head_width=20, window=7)
    norm = "LayerNorm"
    return [
        Instance(
            "MobileNetV2\ninverted residual",
            block(6, mobile, norm=False, bias=True, activation=nn.ReLU6),
            {"norm": None, "attention": None, "expand": "1x1, ratio 6\nReLU6", "convolution": "3x3 depthwise\nReLU6"},
        ),
        Instance(
            "Transformer\nattention (one head)",
            block(1, attend, norm=True, bias=True, activation=nn.Identity),
            {
                "norm": norm,
                "attention": "attention\nover the map",
                "expand": "1x1, ratio 1\n(values)",
                "convolution": None,
            },
        ),
        Instance(
            "Transformer\nfeed-forward",
            block(4, EfficientOperator(kernel=None), norm=True, bias=True, activation=nn.GELU),
            {"norm": norm, "attention": None, "expand": "1x1, ratio 4\nGELU", "convolution": None},
        ),
        Instance(
            "iRMB\n(EMO-1M, stage 3)",
            block(3, both, norm=True, bias=False, activation=nn.GELU),
            {
                "norm": norm,
                "attention": "attention in\n7x7 windows",
                "expand": "1x1, ratio 3\nGELU",
                "convolution": "5x5 depthwise\nSiLU, skip",
            },
        ),
    ]


def costs(model: MetaMobileBlock) -> tuple[int, float]:
    """Parameters, and millions of multiply-adds for one map."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, CHANNELS, SIDE, SIDE))
    return sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops() / 2e6


def main() -> None:
    """Draw and save."""
    figure, axes = plt.subplots(1, 4, figsize=(10, 5.2))
    for axis, instance in zip(axes, instances(), strict=True):
        axis.set(xlim=(0, 1), ylim=(-0.4, 5.9))
        axis.axis("off")
        axis.set_title(instance.title, fontsize=11, fontweight="bold")
        words = {**instance.words, "shrink": "1x1 back to C"}
        for row, (part, colour) in enumerate(COLOURS.items()):
            text = words[part]
            y = 4.9 - row
            style = {"facecolor": colour} if text else {"facecolor": "none", "linestyle": ":", "edgecolor": "#aaaaaa"}
            axis.add_patch(FancyBboxPatch((0.14, y - 0.62), 0.62, 0.62, boxstyle="round,pad=0.03", **style))
            axis.text(
                0.45,
                y - 0.31,
                text or f"no {part}",
                ha="center",
                va="center",
                fontsize=8.5,
                color="#222222" if text else "#aaaaaa",
            )
        axis.add_patch(FancyArrowPatch((0.45, 5.6), (0.45, 5.0), arrowstyle="-|>", mutation_scale=10))
        axis.add_patch(FancyArrowPatch((0.45, 0.2), (0.45, -0.25), arrowstyle="-|>", mutation_scale=10))
        axis.plot([0.45, 0.93, 0.93], [5.4, 5.4, 0.05], color="black", linewidth=1)
        axis.add_patch(FancyArrowPatch((0.93, 0.05), (0.47, 0.05), arrowstyle="-|>", mutation_scale=10))
        parameters, multiply_adds = costs(instance.block)
        axis.text(
            0.45,
            -0.62,
            f"{parameters:,} parameters\n{multiply_adds:.1f} M multiply-adds",
            ha="center",
            va="top",
            fontsize=8.5,
        )
    figure.tight_layout()
    figure.savefig(Path(__file__).with_name("meta-mobile-block.png"), dpi=100, bbox_inches="tight")


if __name__ == "__main__":
    main()
