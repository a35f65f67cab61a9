"""JSON schemas of the API: query parameters, request bodies and responses.

Requests are parsed with these models. Responses are written by ``serialization`` directly, which is faster; their
models describe them in the OpenAPI document, and tests validate real responses against them.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

BoxFormat = Literal["xyxy", "xywh", "cxcywh"]
BoxUnits = Literal["pixel", "normalized"]
Score = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Version = Annotated[
    str | None,
    Field(min_length=1, max_length=16, description="Version of the model or an alias of it; without it its default."),
]


class Schema(BaseModel):
    """Base of the schemas: frozen, without unknown members."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _Query(Schema):
    model: str | None = Field(
        None, min_length=1, max_length=64, description="Name of a model; without it the default answers."
    )
    version: Version = None
    full_decode: bool = Field(
        default=False,
        description="Decode large JPEGs at their full size, which is slower: without it at 1/2, 1/4 or 1/8 of their "
        "sides, as long as these keep almost three times the pixels that the model needs.",
    )


class NoQuery(Schema):
    """A query without parameters."""


class ModelQuery(Schema):
    """Query parameters of /models/{name}."""

    version: Version = None


class AliasQuery(Schema):
    """Query parameters of an alias."""

    version: str | None = Field(None, max_length=16, description="The version that it is to name.")


class SplitQuery(Schema):
    """Query parameters of the split of an alias."""

    version: str = Field(max_length=16, description="The other version.")
    share: Score = Field(description="Its share of the requests.")
    by: Literal["client", "header", "request"] = Field("client", description="What decides who answers a request.")
    header: str | None = Field(None, max_length=64, description="With by=header: its name.")


class ShadowQuery(Schema):
    """Query parameters of the shadow of an alias."""

    version: str = Field(max_length=16, description="The version that computes copies.")
    share: Score = Field(1.0, description="Of the images, those that are copied.")


class ClassifyQuery(_Query):
    """Query parameters of /classify."""

    top_k: int = Field(5, ge=1, le=1000, description="How many classes, and groups, to return at most, best first.")
    score_threshold: Score = Field(0.0, description="Classes, and groups, with a lower score are left out.")


class DetectQuery(_Query):
    """Query parameters of /detect; the defaults come from the model's manifest."""

    score_threshold: Score | None = Field(None, description="Objects with a lower score are left out.")
    iou_threshold: Score | None = Field(
        None, description="Of two boxes of one class that overlap more than this, the better one stays."
    )
    class_agnostic: bool = Field(
        default=False, description="Whether a box also gives way to a better one of another class, not only of its own."
    )
    max_detections: int | None = Field(None, ge=1, le=1000, description="How many objects to return at most.")
    classes: list[str] | None = Field(
        None, max_length=1000, description="Only objects of these classes: names, repeated or separated by commas."
    )
    box_format: BoxFormat = Field("xyxy", description="Two corners; corner and size; centre and size.")
    units: BoxUnits = Field("pixel", description="Pixels of the upright image, or fractions of its sides.")
    format: Literal["json", "coco"] = Field(
        "json",
        description="`coco`: a list of COCO results (boxes `xywh` in pixels; `image_id` is the position of the image "
        "in the request, from 0; `category_id` is the class id). The header `X-Failed-Images` names the positions of "
        "images that could not be answered, for which the list has no room.",
    )


class SegmentQuery(_Query):
    """Query parameters of /segment."""

    format: Literal["labels", "overlay"] = Field(
        "labels",
        description="What a picture shows: `labels`, a PNG whose pixels are class ids, with a palette; `overlay`, the "
        "image under the colours and names of its classes, as PNG or JPEG, never JSON.",
    )


class JsonImages(Schema):
    """A JSON body: one image or several, each as base64 (RFC 4648) or as a data: URI."""

    image: str | None = Field(None, description="One image, base64.")
    images: list[str] | None = Field(None, min_length=1, description="Several images, base64; answered in this order.")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.image is None) == (self.images is None):
            msg = 'give either "image" or "images"'
            raise ValueError(msg)
        return self


class ModelReference(Schema):
    """The model that answered."""

    name: str
    version: str


class Size(Schema):
    """Size in pixels of the upright image (EXIF orientation applied)."""

    width: int
    height: int


class ScoredClass(Schema):
    """A class and its score."""

    class_id: int = Field(ge=0, description="Index of the class in the labels of the model.")
    name: str
    score: float = Field(ge=0, le=1)


def _without_default(schema: dict[str, Any]) -> None:
    """Remove the default from the schema of a field that is absent rather than null."""
    del schema["default"]


class GroupedClass(ScoredClass):
    """A class with its score and its broad group."""

    group: str | SkipJsonSchema[None] = Field(
        None, description="Only of models whose classes have groups.", json_schema_extra=_without_default
    )


class ScoredGroup(Schema):
    """A broad group of classes, and the sum of their scores."""

    name: str
    score: float = Field(ge=0, le=1)


class ClassifyAnswer(Schema):
    """The best classes of one image."""

    model: ModelReference
    image: Size
    classifications: list[GroupedClass]
    groups: list[ScoredGroup] | SkipJsonSchema[None] = Field(
        None,
        description="The best groups, by the sums over all their classes, also those that are not listed. Only of "
        "models whose classes have groups.",
        json_schema_extra=_without_default,
    )


class DetectedObject(ScoredClass):
    """A detected object and its box."""

    box: tuple[float, float, float, float] = Field(description="Four numbers in `box_format` and `units`.")


class DetectAnswer(Schema):
    """The objects found in one image, best first."""

    model: ModelReference
    image: Size
    box_format: BoxFormat
    units: BoxUnits
    detections: list[DetectedObject]


class CocoResult(Schema):
    """One object in COCO's results format, as read by pycocotools."""

    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    score: float


class RunLengths(Schema):
    """A mask in COCO's compressed RLE, as read by `pycocotools.mask.decode`."""

    size: tuple[int, int] = Field(description="Height and width of the image.")
    counts: str = Field(description="COCO's compressed run lengths, down the columns.")


class SegmentedClass(Schema):
    """All pixels of one class."""

    class_id: int = Field(ge=0, description="Index of the class in the labels of the model.")
    name: str
    pixels: int = Field(ge=1)
    share: float = Field(ge=0, le=1, description="Of the image.")
    rle: RunLengths


class SegmentAnswer(Schema):
    """The classes that occur in one image, the largest first; every pixel has one."""

    model: ModelReference
    image: Size
    classes: list[SegmentedClass]


class ProblemDocument(BaseModel):
    """A problem document (RFC 9457): the fault and the allowed values; some types have additional members."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str
    title: str
    status: int
    detail: str
    request_id: str


class FailedImage(Schema):
    """Entry for an image that could not be answered."""

    error: ProblemDocument


class ClassifyAnswers(Schema):
    """One entry for each image, in the order of the request."""

    results: list[ClassifyAnswer | FailedImage]


class DetectAnswers(Schema):
    """One entry for each image, in the order of the request."""

    results: list[DetectAnswer | FailedImage]


class SegmentAnswers(Schema):
    """One entry for each image, in the order of the request."""

    results: list[SegmentAnswer | FailedImage]
