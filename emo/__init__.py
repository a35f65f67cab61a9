"""EMO in PyTorch: architecture, training, export (arXiv 2301.01146). The server never imports it."""

from emo.anchors import SIZES as ANCHOR_SIZES
from emo.backbone import SIZES
from emo.checkpoint import load_upstream
from emo.heads.classifier import Classifier
from emo.heads.model import Model
from emo.heads.retinanet import RetinaNet
from emo.heads.segmenter import Segmenter
from emo.heads.ssdlite import SSDLite

__all__ = ["MODEL_NAMES", "TRAINABLE_NAMES", "create", "load_upstream"]

_DENSE_SIZES = ("emo_1m", "emo_2m", "emo_5m")
_SSDLITE = tuple(f"ssdlite_{size}" for size in _DENSE_SIZES)
_OTHERS = tuple(f"{head}_{size}" for head in ("retinanet", "deeplabv3", "pspnet") for size in _DENSE_SIZES)
TRAINABLE_NAMES = (*SIZES, *_SSDLITE)
"""What ``emo train`` has a recipe for."""
MODEL_NAMES = (*TRAINABLE_NAMES, *_OTHERS)


def create(name: str, num_classes: int | None = None, anchor_sizes: tuple[int, ...] = ANCHOR_SIZES) -> Model:
    """A model with fresh weights, in training mode.

    ``num_classes`` is 1000 (ImageNet) for a classifier, 80 (COCO) for a detector and 150 (ADE20K) for a segmenter where
    not given; ``anchor_sizes`` (see ``emo.anchors.SIZES``) matter to SSDLite only. Its ``state_dict()`` is all that
    ``emo import``, ``emo evaluate`` and ``--init`` need. Raise ValueError for an unknown name and list the known ones.
    """
    if name not in MODEL_NAMES:
        msg = f"no model {name!r}; there are {', '.join(MODEL_NAMES)}"
        raise ValueError(msg)
    head, _, size = name.rpartition("emo_")
    config = SIZES[f"emo_{size}"]
    match head:
        case "ssdlite_":
            return SSDLite(config, 80 if num_classes is None else num_classes, anchor_sizes)
        case "retinanet_":
            return RetinaNet(config, 80 if num_classes is None else num_classes)
        case "deeplabv3_":
            return Segmenter(config, 150 if num_classes is None else num_classes, "deeplabv3")
        case "pspnet_":
            return Segmenter(config, 150 if num_classes is None else num_classes, "pspnet")
    return Classifier(config, 1000 if num_classes is None else num_classes)
