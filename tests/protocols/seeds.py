"""A good request of each protocol, for the tests that hold for all of them, and what its errors look like."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from tests.protocols.pictures import RED, text

ADDRESS = "http://127.0.0.1:9/cat.jpg"


@dataclass(frozen=True, slots=True)
class Seed:
    """A request that is answered with 200; ``with_address``: the body with an address in the place of the image."""

    protocol: str
    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    with_address: bytes | None = None

    def __str__(self) -> str:
        return f"{self.protocol} {self.path}"


def _v2(image: str) -> bytes:
    entry = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [image]}
    return json.dumps({"inputs": [entry], "parameters": {"full_decode": True}}).encode()


def _hugging_face(image: str) -> bytes:
    return json.dumps({"inputs": image, "parameters": {"top_k": 2, "function_to_apply": None}}).encode()


def form(part: str, image: bytes, **fields: str) -> bytes:
    """A form with the boundary ``x``, as browsers and cameras send it."""
    disposition = "--x\r\nContent-Disposition: form-data; name="
    texts = "".join(f'{disposition}"{name}"\r\n\r\n{value}\r\n' for name, value in fields.items())
    return f'{texts}{disposition}"{part}"; filename="{part}"\r\n\r\n'.encode() + image + b"\r\n--x--\r\n"


def _own(image: str) -> bytes:
    return json.dumps({"image": image}).encode()


def _instances(image: str) -> bytes:
    return json.dumps({"instances": [{"b64": image}], "parameters": {"full_decode": True}}).encode()


def _roboflow(image: str, kind: str = "base64") -> bytes:
    content = {"model_id": "toy-detector", "api_key": None, "image": {"type": kind, "value": image}, "confidence": 0.5}
    return json.dumps(content).encode()


def _roboflow_images(image: str) -> bytes:
    images = [{"type": "base64", "value": image}] * 2
    content = {"model_id": "toy-classifier/1", "image": images, "confidence": "default", "visualize_predictions": False}
    return json.dumps(content).encode()


JSON = {"content-type": "application/json"}
FORM = {"content-type": "multipart/form-data; boundary=x"}
SEEDS = [
    Seed("v2", "/v2/models/toy-classifier/infer", _v2(text(RED)), with_address=_v2(ADDRESS)),
    Seed("v2", "/v2/models/toy-detector/infer", RED, {"Inference-Header-Content-Length": "0"}),
    Seed("huggingface", "/models/toy-classifier", _hugging_face(text(RED)), JSON, _hugging_face(ADDRESS)),
    Seed("huggingface", "/models/toy-detector", RED, {"content-type": "image/png"}),
    Seed("huggingface", "/models/toy-segmenter", RED, {"content-type": "image/png"}),
    Seed("huggingface", "/", RED),
    Seed("deepstack", "/v1/vision/detection", form("image", RED, min_confidence="0.5", api_key=""), FORM),
    Seed("deepstack", "/v1/vision/custom/toy-detector", form("image", RED), FORM),
    Seed("deepstack", "/v1/vision/scene", form("image", RED), FORM),
    Seed("torchserve", "/predictions/toy-classifier", RED),
    Seed("torchserve", "/predictions/toy-detector/1", form("data", RED), FORM),
    Seed("roboflow", "/infer/object_detection", _roboflow(text(RED)), JSON, _roboflow(ADDRESS, "url")),
    Seed("roboflow", "/infer/classification", _roboflow_images(text(RED)), JSON, _roboflow_images(ADDRESS)),
    Seed("roboflow", "/toy-detector/1?confidence=40&overlap=30&classes=red", text(RED).encode(), JSON),
    Seed("roboflow", "/toy-detector/1", text(RED).encode(), JSON, ADDRESS.encode()),
    Seed("roboflow", "/toy-classifier/1", form("file", RED), FORM),
    Seed("sagemaker", "/invocations", RED, {"content-type": "image/png"}),
    Seed("sagemaker", "/invocations", _own(text(RED)), JSON, _own(ADDRESS)),
    Seed("vertex", "/v1/endpoints/1/deployedModels/2:predict", _instances(text(RED)), with_address=_instances(ADDRESS)),
    Seed("tfserving", "/v1/models/toy-detector:predict", _instances(text(RED)), with_address=_instances(ADDRESS)),
]
PREFIXES = [
    ("v2", "/v2"),
    ("deepstack", "/v1/vision"),
    ("deepstack", "/v1/status"),
    ("torchserve", "/predictions/x/1"),
    ("roboflow", "/infer"),
    ("roboflow", "/model"),
    ("sagemaker", "/invocations"),
    ("vertex", "/v1/endpoints"),
    ("tfserving", "/v1/models"),
]


def is_error_of(protocol: str, answer: httpx.Response) -> bool:
    """True if the answer is an error as the clients of the protocol expect it."""
    media_type = "application/problem+json" if protocol == "sagemaker" else "application/json"
    if answer.headers["content-type"] != media_type:
        return False
    content = answer.json()
    if not isinstance(content, dict):
        return False
    match protocol:
        case "v2" | "huggingface" | "vertex" | "tfserving" | "roboflow":
            name = "message" if protocol == "roboflow" else "error"
            return list(content) == [name] and bool(content[name])
        case "deepstack":
            return content["success"] is False and bool(content["error"]) and content["code"] == answer.status_code
        case "torchserve":
            return content["code"] == answer.status_code and bool(content["type"]) and bool(content["message"])
        case "sagemaker":
            return content["status"] == answer.status_code and bool(content["detail"])
    raise AssertionError(protocol)
