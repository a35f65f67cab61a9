"""Answers in the forms of other packages, each of which is imported only where it is asked for."""

from typing import TYPE_CHECKING, Any

from emo_client.images import Picture, extra, to_pillow, to_rgb

if TYPE_CHECKING:
    import fiftyone
    import numpy as np
    import PIL.Image
    import supervision
    from numpy.typing import NDArray

    from emo_client.results import Classification, Detections, Region

_LINE_PER_SIDE = 1 / 300
_TEXT_PER_SIDE = 1 / 40


def classes_to_supervision(answer: "Classification") -> "supervision.Classifications":
    """Class ids and confidences (K,)."""
    with extra("supervision"):
        import numpy as np  # noqa: PLC0415
        import supervision as sv  # noqa: PLC0415

    classes = answer.classifications
    ids = np.array([entry.class_id for entry in classes], int)
    return sv.Classifications(class_id=ids, confidence=np.array([entry.score for entry in classes], np.float32))


def objects_to_supervision(answer: "Detections") -> "supervision.Detections":
    """Boxes (K, 4), class ids and confidences (K,), names in ``data``."""
    with extra("supervision"):
        import numpy as np  # noqa: PLC0415
        import supervision as sv  # noqa: PLC0415

    found = answer.detections
    return sv.Detections(
        xyxy=np.array([entry.box for entry in found], np.float32).reshape(-1, 4),
        confidence=np.array([entry.score for entry in found], np.float32),
        class_id=np.array([entry.class_id for entry in found], int),
        data={"class_name": np.array([entry.name for entry in found], str)},
    )


def class_to_fiftyone(answer: "Classification") -> "fiftyone.Classification":
    """The best class and its confidence."""
    with extra("fiftyone"):
        import fiftyone as fo  # noqa: PLC0415

    best = answer.best
    return fo.Classification() if best is None else fo.Classification(label=best.name, confidence=best.score)


def objects_to_fiftyone(answer: "Detections") -> "fiftyone.Detections":
    """Boxes as (left, top, width, height) in fractions of the image."""
    with extra("fiftyone"):
        import fiftyone as fo  # noqa: PLC0415

    size = answer.image
    return fo.Detections(
        detections=[
            fo.Detection(
                label=entry.name,
                confidence=entry.score,
                bounding_box=[
                    left / size.width,
                    top / size.height,
                    (right - left) / size.width,
                    (bottom - top) / size.height,
                ],
            )
            for entry in answer.detections
            for left, top, right, bottom in [entry.box]
        ]
    )


def objects_to_coco(answer: "Detections", image_id: int) -> list[dict[str, Any]]:
    """COCO results."""
    return [
        {
            "image_id": image_id,
            "category_id": entry.class_id,
            "bbox": [left, top, round(right - left, 2), round(bottom - top, 2)],
            "score": entry.score,
        }
        for entry in answer.detections
        for left, top, right, bottom in [entry.box]
    ]


def mask_of(region: "Region") -> "NDArray[np.bool_]":
    """The mask (height, width) of a region."""
    from pycocotools import mask  # noqa: PLC0415

    decoded: NDArray[np.uint8] = mask.decode({"size": list(region.rle.size), "counts": region.rle.counts.encode()})
    return decoded.astype(bool)


def plot_objects(answer: "Detections", picture: Picture) -> "PIL.Image.Image":
    """A copy of the picture, which has to have the answer's size, with boxes, names and scores; one colour a class."""
    with extra("images"):
        from PIL import ImageColor, ImageDraw, ImageFont  # noqa: PLC0415

    page = to_rgb(to_pillow(picture))
    if page.size != (answer.image.width, answer.image.height):
        seen = f"{answer.image.width} x {answer.image.height}"
        msg = f"the answer is about a picture of {seen} pixels, and this one has {page.width} x {page.height}"
        raise ValueError(msg)
    draw = ImageDraw.Draw(page)
    side = max(page.size)
    size = max(12.0, side * _TEXT_PER_SIDE)
    font = ImageFont.load_default(size)
    for entry in reversed(answer.detections):
        left, top = entry.box[:2]
        colour = ImageColor.getrgb(f"hsl({entry.class_id * 222 % 360}, 85%, 45%)")
        draw.rectangle(entry.box, outline=colour, width=max(2, round(side * _LINE_PER_SIDE)))
        text = f"{entry.name} {entry.score:.0%}"
        place = draw.textbbox((left, top - 1.4 * size if top > 2 * size else top), text, font)
        draw.rectangle(place, fill=colour)
        draw.text(place[:2], text, "white", font, anchor="lt")
    return page
