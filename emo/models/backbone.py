"""EMO: a stem and four stages of iRMB (arXiv 2301.01146, section 3.4, tables 2 and 11)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from emo.models.irmb import EfficientOperator, MetaMobileBlock, batch_norm, layer_norm


@dataclass(frozen=True, slots=True)
class EMOConfig:
    """One size of EMO; the tuples hold one value a stage."""

    depths: tuple[int, int, int, int]
    stem_width: int
    widths: tuple[int, int, int, int]
    expansion_ratios: tuple[float, float, float, float]
    head_widths: tuple[int, int, int, int]
    drop_path: float = 0.05
    kernels: tuple[int, int, int, int] = (3, 3, 5, 5)
    attention: tuple[bool, bool, bool, bool] = (False, False, True, True)
    window: int = 7
    detection_window: int = 7
    segmentation_window: int = 7


EMO_1M = EMOConfig((2, 2, 8, 3), 24, (32, 48, 80, 168), (2.0, 2.5, 3.0, 3.5), (16, 16, 20, 21), drop_path=0.04036)
EMO_2M = EMOConfig((3, 3, 9, 3), 24, (32, 48, 120, 200), (2.0, 2.5, 3.0, 3.5), (16, 16, 20, 20))
EMO_5M = EMOConfig(
    (3, 3, 9, 3),
    24,
    (48, 72, 160, 288),
    (2.0, 3.0, 4.0, 4.0),
    (24, 24, 32, 32),
    detection_window=10,
    segmentation_window=16,
)
EMO_6M = EMOConfig((3, 3, 9, 3), 24, (48, 72, 160, 320), (2.0, 3.0, 4.0, 5.0), (16, 24, 20, 32))

SIZES = {"emo_1m": EMO_1M, "emo_2m": EMO_2M, "emo_5m": EMO_5M, "emo_6m": EMO_6M}
SIZE_OF_WIDTH = {config.widths[-1]: size for size, config in SIZES.items()}
"""Channels of the last stage -> size; no two sizes have the same."""
KNOWN_WIDTHS = ", ".join(f"{width} ({size})" for width, size in SIZE_OF_WIDTH.items())


class EMO(nn.Module):
    """The backbone; ``stages[0]`` is the stem (stride 2), ``stages[1..4]`` have the strides 4, 8, 16, 32."""

    def __init__(self, config: EMOConfig, window: int | None = None) -> None:
        """``window`` overrides the classifier's window size, as the authors do for dense prediction."""
        super().__init__()
        self.config = config
        self.stages = nn.ModuleList([_stem(config)])
        rates = torch.linspace(0, config.drop_path, sum(config.depths)).tolist()
        channels = config.stem_width
        for index, (depth, width) in enumerate(zip(config.depths, config.widths, strict=True)):
            blocks = []
            for position in range(depth):
                blocks.append(
                    _block(config, index, channels, rates.pop(0), window or config.window, first=position == 0)
                )
                channels = width
            self.stages.append(nn.Sequential(*blocks))
        _initialise(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W), normalised -> the raw outputs of stem and stages, at strides 2, 4, 8, 16, 32 (rounded up)."""
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


def _stem(config: EMOConfig) -> nn.Sequential:
    """3x3 convolution of stride 2, then a block without norm, expansion and skip but with squeeze-excite."""
    return nn.Sequential(
        nn.Conv2d(3, config.stem_width, config.kernels[0], 2, config.kernels[0] // 2),
        batch_norm(config.stem_width),
        MetaMobileBlock(
            config.stem_width,
            config.stem_width,
            None,
            EfficientOperator(config.kernels[0], squeeze_excite=True),
            norm=None,
            activation=nn.SiLU,
            residual=False,
        ),
    )


def _block(
    config: EMOConfig, stage: int, channels_in: int, drop_path: float, window: int, *, first: bool
) -> MetaMobileBlock:
    """A stage's first block halves the map with twice the expansion and neither attention nor skip."""
    attends = config.attention[stage]
    operator = EfficientOperator(
        kernel=config.kernels[stage],
        stride=2 if first else 1,
        head_width=config.head_widths[stage] if attends and not first else None,
        window=window,
    )
    return MetaMobileBlock(
        channels_in,
        config.widths[stage],
        config.expansion_ratios[stage] * (2 if first else 1),
        operator,
        norm=layer_norm if attends else batch_norm,
        activation=nn.GELU if attends else nn.SiLU,
        residual=not first,
        drop_path=drop_path,
    )


def _initialise(model: nn.Module) -> None:
    """Truncated normal of 0.02 for every convolution and linear layer, zero bias."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
