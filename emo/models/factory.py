"""Creation of models by name."""

from emo.models.anchors import SIZES as ANCHOR_SIZES
from emo.models.backbone import SIZES
from emo.models.heads.classifier import Classifier
from emo.models.heads.model import Model
from emo.models.heads.retinanet import RetinaNet
from emo.models.heads.segmenter import Segmenter
from emo.models.heads.ssdlite import SSDLite
from emo.models.names import MODEL_NAMES, model_name


def create(name: str, num_classes: int | None = None, anchor_sizes: tuple[int, ...] = ANCHOR_SIZES) -> Model:
    """A model with fresh weights, in training mode; ``name`` is one of ``MODEL_NAMES``, also written ``emo-1m``.

    ``num_classes`` defaults to 1000 (ImageNet) for a classifier, 80 (COCO) for a detector and 150 (ADE20K) for a
    segmenter; ``anchor_sizes`` (see ``anchors.SIZES``) apply to SSDLite only. Its ``state_dict()`` is all that
    ``emo import``, ``emo evaluate`` and ``--init`` need. Raise ValueError for an unknown name and list the known ones.
    """
    if model_name(name) not in MODEL_NAMES:
        msg = f"no model {name!r}; there are {', '.join(MODEL_NAMES)}"
        raise ValueError(msg)
    head, _, size = model_name(name).rpartition("emo_")
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
