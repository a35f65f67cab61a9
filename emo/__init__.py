"""EMO in PyTorch: architecture, training, export (arXiv 2301.01146). The server never imports it."""

from emo.anchors import SIZES as ANCHOR_SIZES
from emo.backbone import SIZES
from emo.checkpoint import load_upstream
from emo.heads.classifier import Classifier
from emo.heads.ssdlite import SSDLite

__all__ = ["MODEL_NAMES", "create", "load_upstream"]

_DETECTOR_PREFIX = "ssdlite_"
MODEL_NAMES = (*SIZES, *(_DETECTOR_PREFIX + size for size in ("emo_1m", "emo_2m", "emo_5m")))


def create(
    name: str, num_classes: int | None = None, anchor_sizes: tuple[int, ...] = ANCHOR_SIZES
) -> Classifier | SSDLite:
    """A model with fresh weights, in training mode.

    ``num_classes`` is 1000 (ImageNet) for a classifier and 80 (COCO) for a detector where not given; ``anchor_sizes``
    (see ``emo.anchors.SIZES``) matter to a detector only. Raise ValueError for an unknown name and list the known ones.
    """
    if name not in MODEL_NAMES:
        msg = f"no model {name!r}; there are {', '.join(MODEL_NAMES)}"
        raise ValueError(msg)
    config = SIZES[name.removeprefix(_DETECTOR_PREFIX)]
    if name.startswith(_DETECTOR_PREFIX):
        return SSDLite(config, 80 if num_classes is None else num_classes, anchor_sizes)
    return Classifier(config, 1000 if num_classes is None else num_classes)
