"""A PNG is what its pixels are, whatever stands beside them."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL.PngImagePlugin import PngInfo

from emo_serve.errors import ImageUndecodable
from emo_serve.vision.image import ImageLimits, decode
from tests.vision.files import encoded, exif, photo, png_chunk, with_chunks
from tests.vision.pixels import shown
from tests.vision.profiles import DISPLAY_P3, rgb_profile, srgb_curve

PLAIN = encoded(photo(), "PNG")


def damaged(chunk: bytes) -> bytes:
    return chunk[:-1] + bytes([chunk[-1] ^ 1])


@pytest.mark.parametrize(
    "chunk",
    [
        damaged(png_chunk(b"tEXt", b"Comment\0hello")),
        damaged(png_chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(500)))),
        damaged(png_chunk(b"tRNS", bytes(6))),
        png_chunk(b"tRNS"),
        png_chunk(b"tRNS", bytes(2)),
        png_chunk(b"tRNS", bytes(7)),
        damaged(png_chunk(b"eXIf", exif(6)[6:])),
        damaged(png_chunk(b"pHYs", bytes(9))),
        png_chunk(b"pHYs", bytes(2)),
        png_chunk(b"gAMA"),
        png_chunk(b"iCCP", b"no zero at all"),
        png_chunk(b"iCCP", b"p\0\7" + zlib.compress(bytes(500))),
        png_chunk(b"iCCP", b"p\0\0broken"),
        png_chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(300_000_000))),
        png_chunk(b"tEXt", b"Comment\0" + b"x" * 3_000_000),
        png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(300_000_000))),
        png_chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(300_000_000))),
        png_chunk(b"acTL", bytes(8)) + png_chunk(b"fcTL", bytes(26)),
        png_chunk(b"caNv", bytes(100)),
    ],
    ids=lambda chunk: f"{chunk[4:8].decode()} {len(chunk)}",
)
def test_a_damaged_or_large_side_chunk_changes_nothing(chunk: bytes) -> None:
    np.testing.assert_array_equal(shown(with_chunks(PLAIN, chunk)), np.asarray(photo()))
    behind = PLAIN.index(b"IEND") - 4
    np.testing.assert_array_equal(shown(PLAIN[:behind] + chunk + PLAIN[behind:]), np.asarray(photo()))


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA"])
def test_transparency_of_another_length_than_the_picture_needs_changes_nothing(mode: str) -> None:
    source = photo().quantize(8) if mode == "P" else photo().convert(mode)
    plain = encoded(source, "PNG")
    for length in (257,) if mode == "P" else (0, 1, 3) if mode == "L" else (2, 6):
        chunk = png_chunk(b"tRNS", bytes(length))
        place = plain.index(b"IDAT") - 4
        np.testing.assert_array_equal(shown(plain[:place] + chunk + plain[place:]), shown(plain))


def test_what_has_to_stand_before_the_pixels_counts_only_there() -> None:
    behind = PLAIN.index(b"IEND") - 4
    colour = struct.pack(">3H", *np.asarray(photo())[5, 5])
    icc = rgb_profile(DISPLAY_P3, srgb_curve())
    for chunk in (png_chunk(b"tRNS", colour), png_chunk(b"iCCP", b"p\0\0" + zlib.compress(icc))):
        assert (shown(with_chunks(PLAIN, chunk)) != np.asarray(photo())).any()
        np.testing.assert_array_equal(shown(PLAIN[:behind] + chunk + PLAIN[behind:]), np.asarray(photo()))
    turned = PLAIN[:behind] + png_chunk(b"eXIf", exif(6)[6:]) + PLAIN[behind:]
    assert shown(turned).shape == (64, 48, 3)


def test_a_side_chunk_that_is_cut_off_behind_the_pixels_changes_nothing() -> None:
    behind = PLAIN.index(b"IEND") - 4
    data = PLAIN[:behind] + png_chunk(b"tEXt", b"Comment\0" + bytes(1000))[:300]
    np.testing.assert_array_equal(shown(data), np.asarray(photo()))


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE"])
def test_a_damaged_chunk_of_the_picture_itself_is_refused(kind: bytes) -> None:
    source = photo().quantize(8) if kind == b"PLTE" else photo()
    data = encoded(source, "PNG")
    place = data.index(kind)
    end = place + 4 + struct.unpack(">I", data[place - 4 : place])[0]
    with pytest.raises(ImageUndecodable):
        decode(data[:end] + damaged(data[end : end + 4]) + data[end + 4 :], ImageLimits())


@pytest.mark.parametrize("colours", [0, 2, 3, 6])
@pytest.mark.parametrize("is_interlaced", [False, True])
def test_a_png_whose_pixels_end_too_early_is_refused(colours: int, is_interlaced: bool) -> None:
    samples = {0: 1, 2: 3, 3: 1, 6: 4}[colours]
    passes = [(2, 2), (1, 2), (3, 1), (2, 3), (5, 2), (4, 5), (9, 4)] if is_interlaced else [(9, 9)]  # of 9 x 9 pixels
    rows = [b"\0" + bytes(samples * columns) for columns, count in passes for _ in range(count)]
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, colours, 0, 0, is_interlaced))
    head = b"\x89PNG\r\n\x1a\n" + head + png_chunk(b"PLTE", bytes(3)) * (colours == 3)

    def with_rows(count: int) -> bytes:
        packed = zlib.compress(b"".join(rows[:count]))
        pieces = png_chunk(b"IDAT", packed[:5]) + png_chunk(b"IDAT", packed[5:])
        return head + pieces + png_chunk(b"IEND")

    assert not shown(with_rows(len(rows)))[..., :3].any() or colours == 6
    for count in range(len(rows)):
        with pytest.raises(ImageUndecodable):
            decode(with_rows(count), ImageLimits())


def test_texts_and_times_of_usual_programs_change_nothing() -> None:
    info = PngInfo()
    info.add_text("Title", "a photo", zip=True)
    info.add_itxt("Description", "ein Foto", zip=True)
    np.testing.assert_array_equal(shown(encoded(photo(), "PNG", pnginfo=info, dpi=(72, 72))), np.asarray(photo()))


@pytest.mark.parametrize("transparent", [0, 777, 65535])
def test_the_transparent_level_of_sixteen_bit_grey_is_white_and_no_other(transparent: int) -> None:
    levels = np.array([[0, 776, 777, 778, 40_000, 65_535]], np.uint16)
    data = encoded(PillowImage.fromarray(levels), "PNG", transparency=transparent)
    wanted = [255 if level == transparent else round(int(level) / 257) for level in levels[0]]
    assert shown(data)[0, :, 0].tolist() == wanted


def test_the_transparent_colour_of_sixteen_bit_rgb_is_white() -> None:
    rows = b"\0" + struct.pack(">6H", 40_000, 500, 65_535, 0, 500, 65_535)
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
    transparent = png_chunk(b"tRNS", struct.pack(">3H", 40_000, 500, 65_535))
    data = b"\x89PNG\r\n\x1a\n" + head + transparent + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND")
    assert shown(data)[0].tolist() == [[255, 255, 255], [0, 1, 255]]


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("transparent", [0, 1])
def test_the_transparent_level_of_few_bits_is_white(bits: int, transparent: int) -> None:
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, bits, 0, 0, 0, 0))
    row = b"\0" + bytes([1 << 8 - 2 * bits])  # the levels 0 and 1
    data = (
        b"\x89PNG\r\n\x1a\n"
        + head
        + png_chunk(b"tRNS", struct.pack(">H", transparent))
        + png_chunk(b"IDAT", zlib.compress(row))
        + png_chunk(b"IEND")
    )
    levels = [0, 255 // (2**bits - 1)]
    assert shown(data)[0, :, 0].tolist() == [255 if n == transparent else levels[n] for n in (0, 1)]


def test_sixteen_bits_with_transparency() -> None:
    rows = b"\0" + struct.pack(">8H", 65_535, 0, 0, 65_535, 65_535, 0, 0, 0)
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 6, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + head + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND")
    assert shown(data)[0].tolist() == [[255, 0, 0], [255, 255, 255]]
