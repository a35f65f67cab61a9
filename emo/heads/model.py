"""All kinds of model that ``emo.create`` makes."""

from emo.heads.classifier import Classifier
from emo.heads.retinanet import RetinaNet
from emo.heads.segmenter import Segmenter
from emo.heads.ssdlite import SSDLite

Detector = SSDLite | RetinaNet
Model = Classifier | Detector | Segmenter
