"""Answers of the server as typed values; coordinates are pixels of the upright image."""

from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from emo_client import convert
from emo_client.errors import Unreachable
from emo_client.images import Picture

if TYPE_CHECKING:
    import fiftyone
    import numpy as np
    import PIL.Image
    import supervision
    from numpy.typing import NDArray

Box = tuple[float, float, float, float]


class _Value(BaseModel):
    """Base of the answers; members that newer servers add are ignored."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())


V = TypeVar("V", bound=_Value)


def read(kind: type[V], document: dict[str, Any]) -> V:
    """The answer in a JSON object; raises Unreachable for one that is not of emo-serve."""
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        msg = f"the answer is not of emo-serve: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise Unreachable(msg) from error


class ModelReference(_Value):
    """The model that answered."""

    name: str
    version: str


class Size(_Value):
    """Size of the upright image in pixels."""

    width: int
    height: int


class ScoredClass(_Value):
    """A class with its score in [0, 1], and its broad group where the model has groups."""

    class_id: int
    name: str
    score: float
    group: str | None = None


class Group(_Value):
    """A broad group, as in "dog", and the sum of its classes' scores."""

    name: str
    score: float


class Classification(_Value):
    """The best classes of an image, best first."""

    model: ModelReference
    image: Size
    classifications: list[ScoredClass]
    groups: list[Group] | None = None

    @property
    def best(self) -> ScoredClass | None:
        """The best class; None if none reaches the threshold that was asked for."""
        return self.classifications[0] if self.classifications else None

    def to_supervision(self) -> "supervision.Classifications":
        """Convert to the package supervision."""
        return convert.classes_to_supervision(self)

    def to_fiftyone(self) -> "fiftyone.Classification":
        """The best class for FiftyOne."""
        return convert.class_to_fiftyone(self)


class DetectedObject(_Value):
    """An object: its class, its score in [0, 1], and its box (left, top, right, bottom)."""

    class_id: int
    name: str
    score: float
    box: Box


class Detections(_Value):
    """The objects in an image, best first."""

    model: ModelReference
    image: Size
    detections: list[DetectedObject]

    def to_supervision(self) -> "supervision.Detections":
        """Convert to the package supervision, with ``class_name`` in its data."""
        return convert.objects_to_supervision(self)

    def to_fiftyone(self) -> "fiftyone.Detections":
        """Convert to FiftyOne, whose boxes are relative to the image."""
        return convert.objects_to_fiftyone(self)

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """COCO results: boxes (left, top, width, height), ``category_id`` is the class id."""
        return convert.objects_to_coco(self, image_id)

    def plot(self, image: Picture) -> "PIL.Image.Image":
        """A copy of the image, which is a path, bytes, Pillow image or array, with boxes and names."""
        return convert.plot_objects(self, image)


class RunLengths(_Value):
    """A mask in COCO's compressed run lengths."""

    size: tuple[int, int]
    counts: str


class Region(_Value):
    """All pixels of one class, and their share of the image."""

    class_id: int
    name: str
    pixels: int
    share: float
    rle: RunLengths

    def mask(self) -> "NDArray[np.bool_]":
        """The pixels (height, width); needs pycocotools."""
        return convert.mask_of(self)


class Segmentation(_Value):
    """The classes that occur in an image, the largest first; every pixel has one."""

    model: ModelReference
    image: Size
    classes: list[Region]


class ModelInfo(_Value):
    """A model that the server has; ``labels`` is the number of its classes, ``digest`` the SHA-256 of its manifest."""

    name: str
    version: str
    task: str
    default: bool
    ready: bool
    labels: int
    aliases: list[str] = []
    metrics: dict[str, float] = {}
    intended_use: str = ""
    digest: str = ""


class Models(_Value):
    """All models that the server has."""

    models: list[ModelInfo]
