"""decode(): a picture stands upright, whatever its metadata say."""

import numpy as np
import pytest
from PIL import Image as PillowImage

from emo_serve.vision.image import ImageLimits
from tests.vision.files import (
    APP1,
    STORED_AS,
    encoded,
    exif,
    jpeg_segment,
    photo,
    png_chunk,
    with_chunks,
    with_segments,
)
from tests.vision.pixels import mean_difference, shown

LIMITS = ImageLimits()
# Pillow's warnings are filtered where the decoder is imported; pytest sets its own filters after that.
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin"),
    pytest.mark.filterwarnings("ignore::UserWarning:PIL.PngImagePlugin"),
]


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", STORED_AS)
def test_every_orientation_shows_the_same_upright_picture(image_format: str, orientation: int) -> None:
    turn = STORED_AS[orientation]
    stored = photo() if turn is None else photo().transpose(turn)
    metadata = PillowImage.Exif()
    metadata[0x0112] = orientation
    image = shown(encoded(stored, image_format, exif=metadata))
    assert mean_difference(image, np.asarray(photo())) < 6


def test_the_orientation_is_also_taken_from_xmp() -> None:
    xmp = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    data = with_segments(encoded(photo(), "JPEG"), jpeg_segment(APP1, xmp))
    assert shown(data).shape == (64, 48, 3)


@pytest.mark.parametrize("orientation", [0, 9, 255, 65535])
def test_an_orientation_without_meaning_leaves_the_picture_as_it_is(orientation: int) -> None:
    plain = encoded(photo(), "JPEG")
    data = with_segments(plain, jpeg_segment(APP1, exif(orientation)))
    np.testing.assert_array_equal(shown(data), shown(plain))


@pytest.mark.parametrize(
    "block",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff",
        b"Exif\0\0" + bytes(300),
        b"Exif\0\0" + b"\xff" * 300,
        exif(6)[:-8],
        exif(6, kind=2),
        exif(6, kind=5),
        exif(6, kind=999),
    ],
)
def test_a_broken_exif_block_does_not_fail_a_good_picture(block: bytes) -> None:
    plain = encoded(photo(), "JPEG")
    for data in (
        with_segments(plain, jpeg_segment(APP1, block)),
        with_segments(plain, jpeg_segment(APP1, block), b"junk"),
        with_chunks(encoded(photo(), "PNG"), png_chunk(b"eXIf", block[6:])),
    ):
        assert shown(data).shape == (48, 64, 3)


def test_broken_application_data_does_not_fail_a_good_picture() -> None:
    plain = encoded(photo(), "JPEG")
    data = with_segments(plain, *(jpeg_segment(marker, b"\xff" * 40) for marker in range(0xE1, 0xF0) if marker != 0xEE))
    np.testing.assert_array_equal(shown(data), shown(plain))
