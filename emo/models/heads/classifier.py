"""ImageNet-style classification on top of EMO."""

from torch import Tensor, nn

from emo.models.backbone import EMO, EMOConfig
from emo.models.layers import LayerNorm2d


class Classifier(nn.Module):
    """EMO, LayerNorm, global average pooling, linear layer."""

    def __init__(self, config: EMOConfig, num_classes: int) -> None:
        """The linear layer starts as the backbone's layers do."""
        super().__init__()
        self.num_classes = num_classes
        self.backbone = EMO(config)
        self.norm = LayerNorm2d(config.widths[-1])
        self.head = nn.Linear(config.widths[-1], num_classes)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W), normalised -> logits (N, num_classes)."""
        features: Tensor = self.norm(self.backbone(x)[-1])
        logits: Tensor = self.head(features.mean((2, 3)))
        return logits
