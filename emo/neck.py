"""The SSDLite neck: four more feature maps, each half the size of the one before."""

from torch import Tensor, nn

from emo.layers import ConvNorm

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
                    ConvNorm(channels, middle, 1),
                    ConvNorm(middle, middle, 3, stride=2, groups=middle),
                    ConvNorm(middle, width, 1),
                )
            )
            channels = width

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """The given maps, then the four new ones."""
        maps = list(features)
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        return maps
