"""All kinds of model that ``emo.create`` makes."""

from emo.models.heads.classifier import Classifier
from emo.models.heads.retinanet import RetinaNet
from emo.models.heads.segmenter import Segmenter
from emo.models.heads.ssdlite import SSDLite

Detector = SSDLite | RetinaNet
Model = Classifier | Detector | Segmenter
