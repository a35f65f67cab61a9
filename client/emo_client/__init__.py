"""A client for emo-serve.

>>> from emo_client import Client
>>> with Client("http://localhost:8000") as client:
...     for found in client.detect("street.jpg").detections:
...         print(found.name, found.score, found.box)
"""

from emo_client.async_client import AsyncClient
from emo_client.client import Client
from emo_client.errors import EmoError, Problem, Unreachable
from emo_client.results import (
    Classification,
    DetectedObject,
    Detections,
    Group,
    ModelInfo,
    Region,
    ScoredClass,
    Segmentation,
)

__all__ = [
    "AsyncClient",
    "Classification",
    "Client",
    "DetectedObject",
    "Detections",
    "EmoError",
    "Group",
    "ModelInfo",
    "Problem",
    "Region",
    "ScoredClass",
    "Segmentation",
    "Unreachable",
]
