"""BMP: variants that Pillow decodes slowly or wrongly, or does not check."""

import struct

from PIL import Image as PillowImage
from PIL.BmpImagePlugin import BmpImageFile

from emo_serve.errors import ImageTooLarge, UnsupportedMediaType
from emo_serve.vision.bmp_rle import decode_run_lengths

MAX_RLE_BMP_BYTES = 4 * 1024 * 1024

_HEADER = 14  # offset of the second header, which has the size
_RLE4 = 2
_NEGATIVE = 0xFF  # in the highest byte of a height: the first row is the upper one
_RUN_LENGTHS = (b"\1\0\0\0", b"\2\0\0\0")
_EMBEDDED = (b"\4\0\0\0", b"\5\0\0\0")


def check_bmp(data: bytes) -> None:
    """Raise UnsupportedMediaType for a JPEG or PNG inside a BMP, ImageTooLarge for a very long run-length code."""
    compression = data[30:34]
    if data[14:15] == b"\x0c":  # the oldest header has none
        return
    if compression in _EMBEDDED:
        msg = "The BMP image holds a JPEG or PNG image, which is not supported; either is without the BMP around it."
        raise UnsupportedMediaType(msg)
    if compression in _RUN_LENGTHS and len(data) > MAX_RLE_BMP_BYTES:
        msg = f"The BMP image is run-length coded and has {len(data)} bytes; allowed are {MAX_RLE_BMP_BYTES}."
        raise ImageTooLarge(msg)


def bmp_profile(data: bytes) -> bytes:
    """The colour profile of a version 5 header, empty if there is none."""
    if int.from_bytes(data[14:18], "little") < 124 or data[70:74] != b"DEBM":
        return b""
    place, length = struct.unpack_from("<II", data, 126)
    return data[_HEADER + place : _HEADER + place + length]


def load_bmp(image: BmpImageFile, data: bytes) -> PillowImage.Image:
    """The pixels of an image whose header is read.

    If all of them are transparent, all become opaque, as in viewers: programs that ignore transparency write such
    files.
    """
    if image.tile[0].codec_name == "bmp_rle":
        return _from_run_lengths(image, data)
    image.load()
    if image.mode == "RGBA" and image.getchannel("A").getbbox() is None:
        return image.convert("RGB")
    return image


def _from_run_lengths(image: BmpImageFile, data: bytes) -> PillowImage.Image:
    is_rle4, is_top_down = data[30] == _RLE4, data[25] == _NEGATIVE
    indices = decode_run_lengths(data[image.tile[0].offset :], image.width, image.height, is_rle4=is_rle4)
    mode = "P" if image.mode == "P" else "L"
    pixels = PillowImage.frombytes(mode, image.size, indices, "raw", mode, 0, 1 if is_top_down else -1)
    if image.mode == "P" and image.palette is not None:
        pixels.putpalette(image.palette.palette, image.palette.rawmode or "RGB")
    elif image.mode == "1":
        pixels = pixels.point([0, *[255] * 255])
    return pixels
