"""Necks between backbone and detection head: SSDLite's additional maps, and RetinaNet's feature pyramid."""

from torch import Tensor, nn
from torch.nn import functional

from emo.models.layers import ConvNorm, DepthwiseConv2d

EXTRA_WIDTHS = (512, 256, 256, 128)


class SSDNeck(nn.Module):
    """Appends maps of 512, 256, 256 and 128 channels to those of the backbone."""

    def __init__(self, channels: int) -> None:
        """``channels`` of the backbone's last map."""
        super().__init__()
        self.extras = nn.ModuleList()
        for width in EXTRA_WIDTHS:
            middle = width // 2
            self.extras.append(
                nn.Sequential(
                    ConvNorm(nn.Conv2d(channels, middle, 1, bias=False)),
                    ConvNorm(DepthwiseConv2d(middle, 3, stride=2)),
                    ConvNorm(nn.Conv2d(middle, width, 1, bias=False)),
                )
            )
            channels = width

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """The given maps, then the four new ones."""
        maps = list(features)
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        return maps


class FineMap(nn.Module):
    """The backbone's map of stride 8, enriched by the coarser one: an edge alone says little about its object.

    One step of a feature pyramid (arXiv 1612.03144, section 3).
    """

    def __init__(self, channels: int, width: int) -> None:
        """``channels`` of the coarser map, ``width`` of the finer one."""
        super().__init__()
        self.lateral = nn.Conv2d(channels, width, 1)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """The shape of ``fine``."""
        told: Tensor = functional.interpolate(self.lateral(coarse), fine.shape[2:], mode="nearest")
        return fine + told


class FeaturePyramid(nn.Module):
    """FPN (arXiv 1612.03144) with two more levels from the backbone's last map, as RetinaNet has them (P3 to P7)."""

    def __init__(self, widths: tuple[int, ...], channels: int) -> None:
        """``widths`` of the backbone's maps, ``channels`` of every level."""
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in widths)
        self.smooth = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in widths)
        self.extras = nn.ModuleList(nn.Conv2d(width, channels, 3, 2, 1) for width in (widths[-1], channels))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """One level a map, and two more, each half the size of the one before (rounded up)."""
        maps = [layer(x) for layer, x in zip(self.lateral, features, strict=True)]
        for level in range(len(maps) - 1, 0, -1):
            size = maps[level - 1].shape[2:]
            maps[level - 1] = maps[level - 1] + functional.interpolate(maps[level], size, mode="nearest")
        levels = [layer(x) for layer, x in zip(self.smooth, maps, strict=True)]
        levels.append(self.extras[0](features[-1]))
        levels.append(self.extras[1](levels[-1]))
        return levels
