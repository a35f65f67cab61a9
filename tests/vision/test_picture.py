"""However its pixels are stored, a picture is addressed as it is shown."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PillowImage

from emo_serve.manifest import Preprocessing
from emo_serve.vision.boxes import input_to_image
from emo_serve.vision.image import ImageLimits, decode
from emo_serve.vision.picture import Picture
from emo_serve.vision.preprocess import preprocess
from emo_serve.vision.results import ImageSize
from tests.vision.files import STORED_AS, cat, encoded

BICUBIC = PillowImage.Resampling.BICUBIC


def jpeg(image: NDArray[np.uint8], orientation: int) -> bytes:
    """A JPEG that shows ``image`` by its EXIF orientation."""
    turn = STORED_AS[orientation]
    stored = PillowImage.fromarray(image)
    metadata = PillowImage.Exif()
    metadata[0x0112] = orientation
    return encoded(stored if turn is None else stored.transpose(turn), "JPEG", quality=95, subsampling=0, exif=metadata)


def rule(mode: str, side: int) -> Preprocessing:
    return Preprocessing.model_validate({
        "mode": mode,
        "height": side,
        "width": side,
        "resize": side if mode == "crop" else None,
        "interpolation": "bicubic",
        "mean": (0, 0, 0),
        "std": (1, 1, 1),
    })  # fmt: skip


@pytest.mark.parametrize("orientation", STORED_AS)
def test_a_box_shows_the_same_however_the_picture_is_stored(orientation: int) -> None:
    turn = STORED_AS[orientation]
    upright = PillowImage.fromarray(cat())
    stored = upright if turn is None else upright.transpose(turn)
    picture = Picture.stored(stored, stored.width, stored.height, 1, orientation)
    assert picture.size == ImageSize(451, 300)
    np.testing.assert_array_equal(np.asarray(picture.upright()), cat())
    box = (30.25, 40.5, 400.75, 290.0)
    tensor = picture.resized(box, 60, 50, BICUBIC)
    wanted = np.asarray(upright.resize((60, 50), BICUBIC, box))
    assert tensor.shape == (50, 60, 3)
    assert np.abs(tensor.astype(int) - wanted).max() <= 2  # columns and rows may have changed their turns


@pytest.mark.parametrize("orientation", STORED_AS)
@pytest.mark.parametrize("mode", ["crop", "stretch"])
def test_what_is_found_in_a_picture_decoded_at_a_fraction_lies_where_it_is_in_the_image(
    orientation: int, mode: str
) -> None:
    """A disc near a corner of an image whose sides leave as much of the last pixel empty as can be."""
    width, height = 8 * 100 + 1, 8 * 90 + 1
    y, x = np.mgrid[:height, :width] + 0.5
    for centre in ((133.0, 110.0), (660.0, 620.0)):
        disc = 255 * np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * 25**2))
        data = jpeg(np.repeat(disc[..., None], 3, axis=2).astype(np.uint8), orientation)
        picture = decode(data, ImageLimits(), least_side=90)
        assert picture.scale == 8
        assert picture.size == ImageSize(width, height)
        tensor, geometry = preprocess(picture, rule(mode, 45))
        weights = np.where(tensor[..., 0] > 20, tensor[..., 0], 0).astype(float)
        rows, columns = np.mgrid[:45, :45] + 0.5
        spot = np.array([(weights * columns).sum(), (weights * rows).sum()]) / weights.sum()
        box = input_to_image(np.array([[*spot, *spot]], np.float32), geometry)[0]
        assert box[:2].tolist() == pytest.approx(centre, abs=0.5)


@pytest.mark.parametrize("orientation", STORED_AS)
def test_a_photo_decoded_at_a_fraction_gives_nearly_the_same_tensor_in_every_orientation(orientation: int) -> None:
    shown = np.asarray(PillowImage.fromarray(cat()).resize((1203, 802), PillowImage.Resampling.LANCZOS))
    data = jpeg(shown, orientation)
    for mode in ("crop", "stretch"):
        full, small = decode(data, ImageLimits()), decode(data, ImageLimits(), least_side=200)
        assert (full.scale, small.scale) == (1, 4)
        wanted, geometry = preprocess(full, rule(mode, 100))
        tensor, same = preprocess(small, rule(mode, 100))
        assert same == geometry
        difference = np.abs(tensor.astype(int) - wanted)
        assert difference.mean() < 0.5
