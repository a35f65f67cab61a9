import io
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PillowImage

from emo_serve.vision import draw
from emo_serve.vision.draw import colour_of, draw_segmentation, encode, encode_class_map
from emo_serve.vision.image import ImageLimits, decode
from emo_serve.vision.results import Detections, ImageSize, Region, Segmentation
from tests.vision.files import cat

NAMES = (
    "cat",
    "a name far too long for any picture of this size, and still it must not fail " * 5,
    "猫 🐈 кот",
    "a\nb",
)


def halves(image: ImageSize) -> Segmentation:
    """The left half of the picture is of class 0, the right one of class 2."""
    class_map = np.zeros((image.height // 2, image.width // 2), np.uint8)
    class_map[:, image.width // 4 :] = 2
    pixels = image.width * image.height // 2
    return Segmentation(image, class_map, (Region(0, pixels, ""), Region(2, pixels, "")))


def found(*objects: tuple[tuple[float, float, float, float], int]) -> Detections:
    return Detections(
        np.array([box for box, _ in objects], np.float32).reshape(-1, 4),
        np.array([label for _, label in objects], np.int64),
        np.linspace(0.9, 0.3, len(objects), dtype=np.float32),
    )


def draw_detections(image: NDArray[np.uint8], detections: Detections, names: tuple[str, ...]) -> NDArray[np.uint8]:
    return np.asarray(draw.draw_detections(PillowImage.fromarray(image), detections, names))


def test_the_outline_is_on_the_box_and_the_rest_of_the_picture_untouched() -> None:
    image = cat()
    drawn = draw_detections(image, found(((100, 100, 300, 250), 0)), NAMES)
    assert drawn.shape == image.shape
    changed = (drawn != image).any(axis=2)
    assert changed[150, 100]
    assert changed[150, 299]
    assert changed[249, 200]
    assert not changed[110:240, 110:290].any()
    assert not changed[260:].any()
    assert not changed[:, 310:].any()


def test_the_given_image_is_not_written_to() -> None:
    image = PillowImage.fromarray(cat())
    draw.draw_detections(image, found(((0, 0, 300, 250), 0)), NAMES)
    np.testing.assert_array_equal(np.asarray(image), cat())


def test_the_name_stands_above_its_box_and_inside_the_picture() -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    above = draw_detections(image, found(((50, 100, 150, 180), 0)), NAMES)
    assert above[80:99, 52:80].any()
    for corner in ((0, 0, 60, 60), (250, 0, 300, 40), (280, 180, 300, 200)):
        drawn = draw_detections(image, found((corner, 0)), NAMES)
        alone = draw_detections(image, found((corner, 0)), ("",))
        assert (drawn != alone).sum() > 100


def test_classes_have_colours_of_their_own() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    colours = {
        tuple(draw_detections(image, found(((10, 50, 90, 95), label)), ("",) * 20)[70, 10].tolist())
        for label in range(20)
    }
    assert len(colours) == 20


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (400, 1), (30, 20), (300, 451)])
@pytest.mark.parametrize("label", range(len(NAMES)))
def test_no_size_and_no_name_fails(shape: tuple[int, int], label: int) -> None:
    height, width = shape
    image = np.zeros((height, width, 3), np.uint8)
    boxes = [((0.0, 0.0, float(width), float(height)), label), ((width - 0.5, height - 0.5, width, height), label)]
    assert draw_detections(image, found(*boxes), NAMES).shape == image.shape


def test_nothing_found_leaves_the_picture_as_it_is() -> None:
    np.testing.assert_array_equal(draw_detections(cat(), found(), NAMES), cat())


@pytest.mark.parametrize(("media_type", "image_format"), [("image/png", "PNG"), ("image/jpeg", "JPEG")])
def test_the_encoded_picture_is_of_the_type_asked_for(
    media_type: Literal["image/png", "image/jpeg"], image_format: str
) -> None:
    data = encode(PillowImage.fromarray(cat()), media_type)
    assert PillowImage.open(io.BytesIO(data)).format == image_format
    assert np.abs(np.asarray(decode(data, ImageLimits()).upright(), int) - cat().astype(int)).mean() < 3


def test_a_class_map_is_a_png_of_labels_in_their_colours() -> None:
    data = encode_class_map(halves(ImageSize(300, 200)), NAMES)
    with PillowImage.open(io.BytesIO(data)) as page:
        assert (page.mode, page.size) == ("P", (300, 200))
        labels, shown = np.asarray(page), np.asarray(page.convert("RGB"))
    assert (labels[:, :150] == 0).all()
    assert (labels[:, 150:] == 2).all()
    assert (shown[:, 150:] == colour_of(2)).all()


def test_the_overlay_mixes_picture_and_colours_half_and_half_and_names_what_is_large() -> None:
    image = PillowImage.fromarray(cat()).resize((300, 200))
    page = np.asarray(draw_segmentation(image, halves(ImageSize(300, 200)), ("left", "nothing", "right"))).astype(int)
    wanted = (np.asarray(image).astype(int) + np.array(colour_of(2))) / 2
    assert np.abs(page[150:, 160:] - wanted[150:, 160:]).max() <= 1
    assert np.abs(page[:, 150:] - wanted[:, 150:]).max() > 50  # the name
