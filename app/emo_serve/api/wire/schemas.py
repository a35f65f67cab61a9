"""The wire: what requests may ask and what answers look like.

Requests are parsed with these models. Answers are written by ``emo_serve.api.wire.serialization`` directly, which is faster;
the models here describe them in the OpenAPI document, and the tests hold real answers against them.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from emo_serve.manifest import Task

BoxFormat = Literal["xyxy", "xywh", "cxcywh"]
BoxUnits = Literal["pixel", "normalized"]
Score = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Version = Annotated[
    str | None,
    Field(min_length=1, max_length=16, description="Version of the model or an alias of it; without it its default."),
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Query(_Strict):
    model: str | None = Field(
        None, min_length=1, max_length=64, description="Name of a model; without it the default answers."
    )
    version: Version = None
    full_decode: bool = Field(
        default=False,
        description="Decode large JPEGs at their full size, which is slower: without it at 1/2, 1/4 or 1/8 of their "
        "sides, as long as these keep almost three times the pixels that the model needs.",
    )


class NoQuery(_Strict):
    """Nothing can be asked."""


class ModelQuery(_Strict):
    """What can be asked of /models/{name}."""

    version: Version = None


class AliasQuery(_Strict):
    """What can be asked of an alias."""

    version: str | None = Field(None, max_length=16, description="The version that it is to name.")


class ClassifyQuery(_Query):
    """What can be asked of /classify."""

    top_k: int = Field(5, ge=1, le=1000, description="How many classes, and groups, to return at most, best first.")
    score_threshold: Score = Field(0.0, description="Classes, and groups, with a lower score are left out.")


class DetectQuery(_Query):
    """What can be asked of /detect; a value that is not given comes from the model's manifest."""

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
    units: BoxUnits = Field("pixel", description="Pixels of the image as a person sees it, or fractions of its sides.")
    format: Literal["json", "coco"] = Field(
        "json",
        description="`coco`: a list of COCO results (boxes `xywh` in pixels; `image_id` is the position of the image "
        "in the request, from 0; `category_id` is the label). The header `X-Failed-Images` names the positions of "
        "images that could not be answered, for which the list has no room.",
    )


class SegmentQuery(_Query):
    """What can be asked of /segment."""

    format: Literal["labels", "overlay"] = Field(
        "labels",
        description="What a picture shows: `labels`, a PNG whose pixels are labels, with a palette; `overlay`, the "
        "image under the colours and names of its classes, as PNG or JPEG, never JSON.",
    )


class JsonImages(_Strict):
    """A JSON body: one image or several, each base64 (RFC 4648) or a data: URI of it."""

    image: str | None = Field(None, description="One image, base64.")
    images: list[str] | None = Field(None, min_length=1, description="Several images, base64; answered in this order.")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.image is None) == (self.images is None):
            msg = 'give either "image" or "images"'
            raise ValueError(msg)
        return self


class ModelReference(_Strict):
    """The model that answered."""

    name: str
    version: str


class Size(_Strict):
    """Size in pixels of the image as a person sees it (EXIF orientation applied)."""

    width: int
    height: int


class ScoredClass(_Strict):
    """A class and how sure the model is of it."""

    label: int = Field(ge=0, description="Index of the class in the model's labels.")
    name: str
    score: float = Field(ge=0, le=1)


def _is_left_out(schema: dict[str, Any]) -> None:
    """Of a field that may be absent: it is never null, so it has no default either."""
    del schema["default"]


class GroupedClass(ScoredClass):
    """A class, and the broad group that it is in."""

    group: str | SkipJsonSchema[None] = Field(
        None, description="Only of models whose classes have groups.", json_schema_extra=_is_left_out
    )


class ScoredGroup(_Strict):
    """A broad group of classes, and the sum of the scores of all of them."""

    name: str
    score: float = Field(ge=0, le=1)


class ClassifyAnswer(_Strict):
    """The best classes of one image."""

    model: ModelReference
    image: Size
    classifications: list[GroupedClass]
    groups: list[ScoredGroup] | SkipJsonSchema[None] = Field(
        None,
        description="The best groups, by the sums over all their classes, also those that are not listed. Only of "
        "models whose classes have groups.",
        json_schema_extra=_is_left_out,
    )


class DetectedObject(ScoredClass):
    """An object and where it is."""

    box: tuple[float, float, float, float] = Field(description="Four numbers in `box_format` and `units`.")


class DetectAnswer(_Strict):
    """The objects found in one image, best first."""

    model: ModelReference
    image: Size
    box_format: BoxFormat
    units: BoxUnits
    detections: list[DetectedObject]


class CocoResult(_Strict):
    """One object as pycocotools reads it."""

    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    score: float


class RunLengths(_Strict):
    """Which pixels, as pycocotools reads it (`pycocotools.mask.decode`)."""

    size: tuple[int, int] = Field(description="Height and width of the image.")
    counts: str = Field(description="COCO's compressed run lengths, down the columns.")


class SegmentedClass(_Strict):
    """All pixels of one class."""

    label: int = Field(ge=0, description="Index of the class in the model's labels.")
    name: str
    pixels: int = Field(ge=1)
    share: float = Field(ge=0, le=1, description="Of the image.")
    rle: RunLengths


class SegmentAnswer(_Strict):
    """The classes that one image consists of, the largest first; every pixel has one."""

    model: ModelReference
    image: Size
    classes: list[SegmentedClass]


class ProblemDocument(BaseModel):
    """RFC 9457: what went wrong and what is allowed; some types have members of their own."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str
    title: str
    status: int
    detail: str
    request_id: str


class FailedImage(_Strict):
    """Stands where the answer of an image would be that could not be answered."""

    error: ProblemDocument


class ClassifyAnswers(_Strict):
    """One entry for each image, in the order of the request."""

    results: list[ClassifyAnswer | FailedImage]


class DetectAnswers(_Strict):
    """One entry for each image, in the order of the request."""

    results: list[DetectAnswer | FailedImage]


class SegmentAnswers(_Strict):
    """One entry for each image, in the order of the request."""

    results: list[SegmentAnswer | FailedImage]


class InputSize(_Strict):
    """Size in pixels of what the network sees."""

    width: int
    height: int


class ModelSummary(_Strict):
    """One served model, in short."""

    name: str
    version: str
    task: Task
    default: bool = Field(description="Whether it answers where the client names no model.")
    ready: bool
    aliases: list[str] = Field(description="Words that `version` may give for this version.")
    labels: int = Field(description="How many classes it knows.")
    input: InputSize
    architecture: str
    metrics: dict[str, float]
    intended_use: str


class ModelFailure(_Strict):
    """A model in the repository that is not served."""

    path: str
    reason: str


class ModelList(_Strict):
    """What is served and what is not."""

    models: list[ModelSummary]
    failures: list[ModelFailure]


class ModelDescription(_Strict):
    """One served model in full."""

    versions: list[str] = Field(description="All served versions of this name.")
    default: bool
    ready: bool
    labels: list[str] = Field(description="Names of the classes; the position is the label.")
    manifest: dict[str, Any] = Field(description="manifest.json without its golden pair.")


class LoadedVersion(_Strict):
    """One version that a worker serves."""

    name: str
    version: str
    task: Task
    aliases: list[str]
    default: bool = Field(description="Whether it answers where the client names no model.")
    ready: bool


class WorkerState(_Strict):
    """What one worker serves, and what it could not follow."""

    process: int
    models: list[LoadedVersion]
    failures: list[ModelFailure]


class WorkerStates(_Strict):
    """Every worker that takes requests."""

    workers: list[WorkerState]


class State(_Strict):
    """State of the process."""

    status: Literal["live", "ready"]
