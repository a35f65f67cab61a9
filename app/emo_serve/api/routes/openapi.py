"""OpenAPI documentation of the bodies and responses that routes parse and write themselves."""

from typing import Any

from emo_serve.api.http.admission import TIMEOUT_HEADER
from emo_serve.api.http.auth import KEY_HEADER, OPEN_PATHS
from emo_serve.api.wire.problems import MEDIA_TYPE, SERVICE_PROBLEMS, ProblemType, problem_types
from emo_serve.api.wire.query import query_parameters
from emo_serve.api.wire.schemas import (
    ClassifyAnswer,
    ClassifyAnswers,
    ClassifyQuery,
    CocoResult,
    DetectAnswer,
    DetectAnswers,
    DetectQuery,
    JsonImages,
    SegmentAnswer,
    SegmentAnswers,
    SegmentQuery,
)
from emo_serve.errors import ImageUndecodable

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_TINY_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
_REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "description": "One image as it is, or one or several as form parts named `file` or as base64 in JSON. "
    "Formats: JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, and HEIC where the server has its package. "
    "Other fields of a form count as parameters where they are called so.",
    "content": {
        "image/*": _BINARY,
        "application/octet-stream": _BINARY,
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {"file": {"type": "array", "items": {"type": "string", "format": "binary"}}},
            },
            "encoding": {"file": {"contentType": "image/*"}},
        },
        "application/json": {
            "schema": JsonImages.model_json_schema(),
            "examples": {
                "one": {"summary": "One image", "value": {"image": _TINY_PNG}},
                "several": {
                    "summary": "Several images",
                    "value": {"images": [_TINY_PNG, f"data:image/png;base64,{_TINY_PNG}"]},
                },
            },
        },
    },
}
_MODEL = {"name": "emo-1m", "version": "3"}
_SIZE = {"width": 640, "height": 427}
_CLASSIFIED = {
    "model": _MODEL,
    "image": {"width": 451, "height": 300},
    "classifications": [
        {"class_id": 97, "name": "Egyptian cat", "score": 0.373784, "group": "cat"},
        {"class_id": 93, "name": "tabby", "score": 0.359053, "group": "cat"},
    ],
    "groups": [{"name": "cat", "score": 0.980273}, {"name": "wild animal", "score": 0.00416}],
}
_DETECTED = {
    "model": {"name": "ssdlite-emo-1m", "version": "2"},
    "image": _SIZE,
    "box_format": "xyxy",
    "units": "pixel",
    "detections": [{"class_id": 2, "name": "car", "score": 0.913, "box": [12.5, 80.25, 300.0, 240.75]}],
}
_SEGMENTED = {
    "model": {"name": "deeplabv3-emo-1m", "version": "1"},
    "image": {"width": 4, "height": 2},
    "classes": [
        {"class_id": 2, "name": "sky", "pixels": 6, "share": 0.75, "rle": {"size": [2, 4], "counts": "062"}},
        {"class_id": 6, "name": "road", "pixels": 2, "share": 0.25, "rle": {"size": [2, 4], "counts": "62"}},
    ],
}
_FAILED = {
    "error": {
        "type": SERVICE_PROBLEMS[ImageUndecodable].uri,
        "title": SERVICE_PROBLEMS[ImageUndecodable].title,
        "status": 422,
        "detail": "The image data is truncated.",
        "request_id": "8f14e45fceea4ef69c8d3ad1a5d2c3b1",
    }
}
_COCO = [{"image_id": 0, "category_id": 2, "bbox": [12.5, 80.25, 287.5, 160.5], "score": 0.913}]


def problem_answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route for these statuses, each with its problem types as examples."""
    return {status: _problem_answer([kind for kind in problem_types() if kind.status == status]) for status in statuses}


def declare_keys(document: dict[str, Any]) -> None:
    """Declare in the OpenAPI ``document`` that every operation but the open ones needs an API key."""
    document["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": KEY_HEADER},
    }
    for path, operations in document["paths"].items():
        for operation in operations.values() if path not in OPEN_PATHS else ():
            operation["security"] = [{"bearer": []}, {"header": []}]
            operation["responses"] |= {str(status): answer for status, answer in problem_answers(401, 429).items()}


def _problem_answer(kinds: list[ProblemType]) -> dict[str, Any]:
    examples = {
        kind.name: {
            "value": {
                "type": kind.uri,
                "title": kind.title,
                "status": kind.status,
                "detail": "What was wrong here and what is allowed.",
                "request_id": "8f14e45fceea4ef69c8d3ad1a5d2c3b1",
            }
        }
        for kind in kinds
    }
    schema = {"$ref": "#/components/schemas/ProblemDocument"}
    return {
        "description": "; ".join(kind.title for kind in kinds),
        "content": {MEDIA_TYPE: {"schema": schema, "examples": examples}},
    }


def _examples(**values: Any) -> dict[str, Any]:  # noqa: ANN401  examples are any JSON
    return {"examples": {name: {"value": value} for name, value in values.items()}}


_TIMEOUT: dict[str, Any] = {
    "name": TIMEOUT_HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "integer", "minimum": 1},
    "description": "Milliseconds from the arrival of the request within which an answer is of use. What cannot be "
    "answered in time is refused at once.",
}
_PROBLEMS = problem_answers(400, 404, 406, 408, 413, 414, 415, 422, 431, 500, 501, 503, 504, 505)

CLASSIFY: dict[str, Any] = {
    "openapi_extra": {"requestBody": _REQUEST_BODY, "parameters": [*query_parameters(ClassifyQuery), _TIMEOUT]},
    "responses": {
        200: {
            "model": ClassifyAnswer | ClassifyAnswers,
            "description": "One answer for one image, `results` for several.",
            "content": {
                "application/json": _examples(one=_CLASSIFIED, several={"results": [_CLASSIFIED, _FAILED]}),
            },
        },
        **_PROBLEMS,
    },
}

DETECT: dict[str, Any] = {
    "openapi_extra": {"requestBody": _REQUEST_BODY, "parameters": [*query_parameters(DetectQuery), _TIMEOUT]},
    "responses": {
        200: {
            "model": DetectAnswer | DetectAnswers | list[CocoResult],
            "description": "One answer for one image, `results` for several, a flat list with `format=coco`, "
            "a picture where Accept asks for one.",
            "content": {
                "application/json": _examples(one=_DETECTED, several={"results": [_DETECTED, _FAILED]}, coco=_COCO),
                "image/png": _BINARY,
                "image/jpeg": _BINARY,
            },
        },
        **_PROBLEMS,
    },
}

SEGMENT: dict[str, Any] = {
    "openapi_extra": {"requestBody": _REQUEST_BODY, "parameters": [*query_parameters(SegmentQuery), _TIMEOUT]},
    "responses": {
        200: {
            "model": SegmentAnswer | SegmentAnswers,
            "description": "One answer for one image, `results` for several. Where Accept asks for a picture: "
            "`image/png` is the map of labels, or the overlay with `format=overlay`; `image/jpeg` is the overlay.",
            "content": {
                "application/json": _examples(one=_SEGMENTED, several={"results": [_SEGMENTED, _FAILED]}),
                "image/png": _BINARY,
                "image/jpeg": _BINARY,
            },
        },
        **_PROBLEMS,
    },
}
