import numpy as np
import pytest

from emo_serve.api.wire.schemas import BoxFormat, BoxUnits
from emo_serve.api.wire.serialization import convert_boxes
from emo_serve.vision.results import ImageSize

IMAGE = ImageSize(width=200, height=100)
BOX = np.asarray([[10.0, 20.0, 110.0, 70.0]], np.float32)


@pytest.mark.parametrize(
    ("box_format", "units", "box"),
    [
        ("xyxy", "pixel", [10, 20, 110, 70]),
        ("xywh", "pixel", [10, 20, 100, 50]),
        ("cxcywh", "pixel", [60, 45, 100, 50]),
        ("xyxy", "normalized", [0.05, 0.2, 0.55, 0.7]),
        ("xywh", "normalized", [0.05, 0.2, 0.5, 0.5]),
        ("cxcywh", "normalized", [0.3, 0.45, 0.5, 0.5]),
    ],
)
def test_a_box_is_the_same_box_in_every_format_and_unit(
    box_format: BoxFormat, units: BoxUnits, box: list[float]
) -> None:
    assert convert_boxes(BOX, IMAGE, box_format, units) == [pytest.approx(box, abs=1e-6)]


def test_pixels_have_two_decimals_and_fractions_six() -> None:
    third = np.asarray([[0, 0, 100 / 3, 50 / 3]], np.float32)
    assert convert_boxes(third, IMAGE, "xyxy", "pixel") == [[0, 0, 33.33, 16.67]]
    assert convert_boxes(third, IMAGE, "xyxy", "normalized") == [[0, 0, 0.166667, 0.166667]]


def test_no_boxes_stay_no_boxes() -> None:
    assert convert_boxes(np.empty((0, 4), np.float32), IMAGE, "cxcywh", "normalized") == []
