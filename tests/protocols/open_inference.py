"""Requests of the Open Inference Protocol over HTTP."""

import json
import struct
from typing import Any

from tests.protocols.pictures import text

CLASSIFIER = "/v2/models/toy-classifier/infer"
LENGTH = "Inference-Header-Content-Length"
PIXELS = {"name": "image", "shape": [1, 32, 32, 3], "datatype": "UINT8"}


def asking(*images: bytes, **members: Any) -> dict[str, Any]:  # noqa: ANN401  any JSON
    entry = {"name": "image", "shape": [len(images)], "datatype": "BYTES", "data": [text(image) for image in images]}
    return {"inputs": [entry], **members}


def framed(content: dict[str, Any], raw: bytes) -> tuple[bytes, dict[str, str]]:
    head = json.dumps(content).encode()
    return head + raw, {LENGTH: str(len(head))}


def elements(*images: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(image)) + image for image in images)
