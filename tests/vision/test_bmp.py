"""BMP: transparency that is none, profiles, and run lengths."""

import io
import random
import struct

import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL.BmpImagePlugin import BmpImageFile

from emo_serve.errors import ImageTooLarge, ImageUndecodable
from emo_serve.vision.bmp_rle import decode_run_lengths
from emo_serve.vision.image import ImageLimits, decode
from tests.vision.files import photo, rle_bmp
from tests.vision.pixels import shown

PALETTE = bytes(random.Random(4).randrange(256) * (n % 4 < 3) for n in range(1024))


def bmp32(alpha: int) -> bytes:
    """A picture of version 5 with an alpha channel that is the same everywhere."""
    pixels = np.dstack((np.asarray(photo())[::-1, :, ::-1], np.full((48, 64), alpha, np.uint8))).tobytes()
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 124, 64, 48, 1, 32, 3, len(pixels), 0, 0, 0, 0) + masks
    header = header.ljust(124, b"\0")
    return b"BM" + struct.pack("<IHHI", 138 + len(pixels), 0, 0, 138) + header + pixels


def test_a_picture_whose_every_pixel_would_be_transparent_is_shown_opaque() -> None:
    np.testing.assert_array_equal(shown(bmp32(0)), np.asarray(photo()))
    np.testing.assert_array_equal(shown(bmp32(255)), np.asarray(photo()))
    assert np.abs(shown(bmp32(128)).astype(int) - (np.asarray(photo()).astype(int) + 255) // 2).max() <= 2


def test_one_visible_pixel_makes_the_others_transparent() -> None:
    data = bytearray(bmp32(0))
    data[138 + 3] = 255
    image = shown(bytes(data))
    assert (image[-1, 0] == np.asarray(photo())[-1, 0]).all()
    assert (image[:-1] == 255).all()


@pytest.mark.parametrize("is_rle4", [False, True])
@pytest.mark.parametrize("is_top_down", [False, True])
def test_run_lengths_give_the_pixels_that_pillow_reads_from_them(is_rle4: bool, is_top_down: bool) -> None:
    rng = random.Random(5)
    compared = 0
    for _ in range(500):
        width, height = rng.randint(1, 40), rng.randint(1, 12)
        codes = bytearray()
        for _ in range(rng.randint(1, 60)):
            kind = rng.random()
            if kind < 0.6:
                codes += b"".join(
                    bytes((rng.randint(1, 12), rng.randrange(256))) for _ in range(rng.choice((1, 3, 40)))
                )
            elif kind < 0.75:
                codes += b"\0\0"
            elif kind < 0.85:
                codes += bytes((0, 2, rng.randint(0, 9), rng.randint(0, 2)))
            else:
                count = rng.randint(3, 9)
                literal = rng.randbytes((count + 1) // 2 if is_rle4 else count)
                codes += bytes((0, count)) + literal + bytes(len(literal) % 2)
        codes += b"\0\0" * 3 * height
        data = rle_bmp(width, height, bytes(codes), PALETTE, is_rle4=is_rle4, is_top_down=is_top_down)
        try:
            wanted = BmpImageFile(io.BytesIO(data)).convert("RGB")
        except ValueError:  # Pillow wants every pixel, also where the last ones are left out
            continue
        np.testing.assert_array_equal(shown(data), np.asarray(wanted))
        compared += 1
    assert compared > 300


def test_greys_are_read_from_run_lengths_too() -> None:
    greys = bytes(level for n in range(256) for level in (n, n, n, 0))
    assert shown(rle_bmp(4, 1, b"\2\x10\2\xe0\0\1", greys))[0, :, 0].tolist() == [16, 16, 224, 224]


def test_an_end_before_the_last_row_leaves_the_rest_as_the_first_colour() -> None:
    image = shown(rle_bmp(2, 3, b"\2\5\0\1", PALETTE))
    assert (image[2] == np.frombuffer(PALETTE[20:23], np.uint8)[::-1]).all()
    assert (image[:2] == np.frombuffer(PALETTE[:3], np.uint8)[::-1]).all()


def test_run_lengths_that_stop_without_an_end_are_truncated() -> None:
    with pytest.raises(ImageUndecodable, match="ends too soon"):
        decode(rle_bmp(2, 3, b"\2\5\0\0", PALETTE), ImageLimits())


@pytest.mark.parametrize("codes", [b"\0\2\0\0", b"\0\3abc\0", b"\1\1\0\2\0\0"])
def test_run_lengths_in_countless_pieces_are_refused(codes: bytes) -> None:
    with pytest.raises(ImageTooLarge, match="too many pieces"):
        decode_run_lengths(codes * 300_000, 1000, 1000, is_rle4=False)


def test_a_noisy_picture_in_runs_of_one_pixel_is_taken() -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (300, 400), np.uint8)
    codes = b"".join(np.stack((np.ones_like(row), row), axis=-1).tobytes() + b"\0\0" for row in pixels)
    wanted = PillowImage.fromarray(pixels[::-1])
    wanted.putpalette(PALETTE, "BGRX")
    np.testing.assert_array_equal(shown(rle_bmp(400, 300, codes, PALETTE)), np.asarray(wanted.convert("RGB")))
