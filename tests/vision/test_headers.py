"""Files that would keep a decoder busy are refused by their structure; what is no JPEG (of those: test_jpeg)."""

import struct
import zlib

import pytest

from emo_serve.errors import ImageTooLarge, ImageUndecodable, UnsupportedMediaType
from emo_serve.vision import headers, png
from emo_serve.vision.bmp import MAX_RLE_BMP_BYTES
from emo_serve.vision.headers import Header
from emo_serve.vision.sniffing import format_of
from tests.vision.files import (
    encoded,
    exif,
    photo,
    png_chunk,
    tiff,
    with_chunks,
)


def read_header(data: bytes) -> Header:
    return headers.read_header(data, format_of(data))


def test_a_png_of_countless_chunks_is_refused() -> None:
    with pytest.raises(ImageTooLarge, match="chunks"):
        read_header(with_chunks(encoded(photo(), "PNG"), png_chunk(b"IDAT") * png.MAX_PNG_CHUNKS))


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt", b"iTXt", b"tEXt", b"acTL", b"zzZz"])
def test_side_chunks_of_a_png_never_reach_its_decoder_however_many(kind: bytes) -> None:
    plain = encoded(photo(), "PNG")
    chunk = png_chunk(kind, b"name\0\0" + zlib.compress(bytes(1_000_000)))
    assert read_header(with_chunks(plain, chunk * 1000)).data == plain


def test_a_gif_of_countless_blocks_is_refused() -> None:
    comment = b"!\xfe" + b"\1x" * (headers.MAX_GIF_BLOCKS + 1) + b"\0"
    with pytest.raises(ImageTooLarge, match="blocks"):
        read_header(b"GIF89a\1\0\1\0\0\0\0" + comment)


def test_a_gif_with_a_palette_and_few_comments_passes() -> None:
    gif = encoded(photo().convert("P"), "GIF", comment=b"x" * 5000)
    assert read_header(gif) == Header(gif)


def test_a_large_run_length_coded_bmp_is_refused() -> None:
    bmp = bytearray(encoded(photo().convert("P"), "BMP"))
    bmp[30] = 1
    assert read_header(bytes(bmp)).data == bmp
    with pytest.raises(ImageTooLarge, match="run-length"):
        read_header(bytes(bmp) + bytes(MAX_RLE_BMP_BYTES))


@pytest.mark.parametrize(
    ("options", "chunk"), [({"lossless": True}, b"VP8L"), ({}, b"VP8 "), ({"exif": exif(1)[6:]}, b"VP8X")]
)
def test_the_size_of_a_webp_is_known_before_its_decoder_is_made(options: dict[str, object], chunk: bytes) -> None:
    webp = encoded(photo(), "WEBP", **options)
    assert webp[12:16] == chunk
    assert read_header(webp).size == (64, 48)


def test_a_webp_that_promises_more_than_is_there_is_truncated() -> None:
    with pytest.raises(ImageUndecodable, match="truncated"):
        read_header(encoded(photo(), "WEBP")[:-2])


@pytest.mark.parametrize("tag", [273, 282])
def test_a_tiff_of_countless_values_is_refused(tag: int) -> None:
    with pytest.raises(ImageTooLarge, match=f"for tag {tag}"):
        read_header(tiff({256: (3, 1, 8), 257: (3, 1, 8), tag: (4, 1_000_000, 200)}))


def test_a_tiff_of_countless_values_in_its_exif_directory_is_refused() -> None:
    hidden = struct.pack("<HHHII", 1, 0x9000, 5, 1_000_000, 100)
    with pytest.raises(ImageTooLarge, match="for tag 36864"):
        read_header(tiff({34665: (4, 1, 26)}, hidden))


def test_a_tiff_of_countless_entries_is_refused() -> None:
    with pytest.raises(ImageTooLarge, match="600 entries"):
        read_header(tiff(dict.fromkeys(range(600), (3, 1, 0))))


@pytest.mark.parametrize(
    ("width", "height", "tile", "decoded"),
    [(100, 50, 60_000, (60_000, 60_000)), (50_000_000, 1, 4096, (50_003_968, 4096)), (100, 50, 0, (100, 50))],
)
def test_the_size_of_a_tiff_counts_all_of_its_tiles(
    width: int, height: int, tile: int, decoded: tuple[int, int]
) -> None:
    sides = {256: (4, 1, width), 257: (4, 1, height), 322: (4, 1, tile), 323: (4, 1, tile)}
    assert read_header(tiff(sides)).size == decoded


@pytest.mark.parametrize("tag", [279, 325])
def test_a_tiff_whose_strips_or_tiles_share_their_bytes_is_refused(tag: int) -> None:
    with pytest.raises(ImageTooLarge, match="100000000 bytes"):
        read_header(tiff({tag: (4, 100, 26)}, struct.pack("<100I", *[1_000_000] * 100)))


@pytest.mark.parametrize("kind", [1, 8, 9, 11, 12, 16])
@pytest.mark.parametrize("tag", [256, 259, 279, 322])
def test_a_tiff_cannot_hide_a_number_in_another_type(tag: int, kind: int) -> None:
    with pytest.raises(ImageUndecodable, match=f"tag {tag}"):
        read_header(tiff({tag: (kind, 1, 7)}))


def test_a_tiff_cannot_hide_its_compression_among_several_values() -> None:
    with pytest.raises(ImageUndecodable, match="tag 259"):
        read_header(tiff({259: (3, 2, 7)}))


def test_a_tiff_whose_strips_are_described_behind_its_end_is_refused() -> None:
    with pytest.raises(ImageUndecodable, match="tag 279 are not there"):
        read_header(tiff({279: (4, 100, 26)}))


@pytest.mark.parametrize("compression", [4, 6, 7, 34712, 50000])
def test_a_tiff_with_another_compression_is_refused_with_the_list(compression: int) -> None:
    with pytest.raises(UnsupportedMediaType, match="allowed are none, LZW, Deflate, PackBits"):
        read_header(tiff({259: (3, 1, compression)}))
