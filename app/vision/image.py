"""Encoded image bytes -> RGB pixels as a person sees them, within limits."""

import io
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ExifTags import Base as ExifTag
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from app.errors import ImageTooLarge, ImageUndecodable, ServiceError
from app.vision.headers import Header, read_header
from app.vision.jpeg import JPEG_START, decode_jpeg, read_jpeg
from app.vision.picture import Picture

# Pillow warns about odd metadata in good pictures. Nobody reads that in a server, so it must not reach its log. The
# filter is set once, here, because a filter around each call would not be safe with threads.
warnings.filterwarnings("ignore", module=r"PIL\.")

# The one reader of each format but JPEG is called directly and not through `PIL.Image.open`: nothing can be taken for
# another format, and Pillow's process-wide pixel limit does not mix with ours.
_READERS: dict[str, type[ImageFile]] = {
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
    "TIFF": TiffImageFile,
}

MAX_SIDE = 65_535  # what a JPEG can have; memory and time of thinner pictures follow their rows, not their pixels
_MAX_EXIF_BYTES = 1024 * 1024
_LEAST_SCAN_PIXELS = 10_000  # a scan costs something even where there is nothing to decode
_FRACTIONS = (8, 4, 2)  # of its sides at which a JPEG can be decoded, for far less work


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What one encoded image may cost.

    ``max_scans`` bounds the work of decoding: a JPEG may make this many passes at ``max_pixels`` and more when it is
    smaller, in proportion. Usual progressive files have about 10. With them and the limits of ``app.vision.headers`` no
    file takes much more than 60 ms of one core for a million pixels and 40 ms for a megabyte.
    """

    max_bytes: int = 20 * 1024 * 1024
    max_pixels: int = 50_000_000
    max_scans: int = 20


def decode(data: bytes, limits: ImageLimits, least_side: int | None = None) -> Picture:
    """The first picture in ``data``, transparency shown on white.

    Formats: JPEG, PNG, WEBP, GIF, BMP, TIFF, told apart by content. 16-bit and floating-point greys are scaled to 8
    bits. With a ``least_side`` a JPEG is decoded at 1/2, 1/4 or 1/8 of its sides, if both keep that many pixels; limits
    are those of the whole image all the same. Thread-safe. Raises UnsupportedMediaType, ImageTooLarge (judged by the
    header, before decoding) or ImageUndecodable (empty, truncated or broken), and nothing else whatever the bytes.
    """
    if not data:
        msg = "The image is empty (0 bytes)."
        raise ImageUndecodable(msg)
    if len(data) > limits.max_bytes:
        msg = f"The image has {len(data)} bytes; allowed are {limits.max_bytes}."
        raise ImageTooLarge(msg)
    header = None if data.startswith(JPEG_START) else read_header(data)
    name = "JPEG" if header is None else header.format
    try:
        if header is None:
            return _from_jpeg(data, limits, least_side)
        return _from_file(data, header, limits)
    except ServiceError:
        raise
    except (MemoryError, PillowImage.DecompressionBombError) as error:
        msg = f"The {name} image is too large to decode."
        raise ImageTooLarge(msg) from error
    except Exception as error:  # broken bytes make Pillow raise nearly every built-in exception
        reason = f" ({error})" if isinstance(error, (OSError, SyntaxError)) and error.__cause__ is None else ""
        msg = f"The {name} image cannot be decoded, it is truncated or broken{reason}."
        raise ImageUndecodable(msg) from error


def _from_jpeg(data: bytes, limits: ImageLimits, least_side: int | None) -> Picture:
    header = read_jpeg(data)
    width, height = header.width, header.height
    _check_cost((width, height), header.scans, limits)
    scale = _scale(width, height, least_side) if header.is_scalable and least_side is not None else 1
    image = decode_jpeg(data, header, scale)
    orientation = 1
    if header.exif or header.xmp:
        image.info = {"exif": header.exif, "xmp": header.xmp}
        orientation = _orientation(image)
    return Picture.stored(_to_rgb(image), width, height, scale, orientation)


def _from_file(data: bytes, header: Header, limits: ImageLimits) -> Picture:
    if header.size is not None:
        _check_cost(header.size, 1, limits)
    with _READERS[header.format](io.BytesIO(data)) as encoded:
        _check_cost(encoded.size, 1, limits)
        encoded.load()
        width, height = encoded.size  # a TIFF turns itself upright
        return Picture.stored(_to_rgb(encoded), width, height, 1, _orientation(encoded))


def _scale(width: int, height: int, least_side: int) -> int:
    return next((scale for scale in _FRACTIONS if min(width, height) // scale >= least_side), 1)


def _check_cost(size: tuple[int, int], scans: int, limits: ImageLimits) -> None:
    width, height = size
    pixels = width * height
    if pixels > limits.max_pixels:
        msg = f"The image has {width}x{height} = {pixels} pixels; allowed are {limits.max_pixels}."
        raise ImageTooLarge(msg)
    if max(size) > MAX_SIDE:
        msg = f"The image has {width}x{height} pixels; allowed are {MAX_SIDE} on a side."
        raise ImageTooLarge(msg)
    allowed = max(limits.max_scans, limits.max_scans * limits.max_pixels // max(pixels, _LEAST_SCAN_PIXELS))
    if scans > allowed:
        msg = f"The image of {width}x{height} pixels is coded in {scans} scans; allowed are {allowed} at this size."
        raise ImageTooLarge(msg)


def _orientation(image: PillowImage.Image) -> int:
    """EXIF orientation, 1 (upright) where there is none or it cannot be read."""
    if len(image.info.get("exif", b"")) > _MAX_EXIF_BYTES:
        return 1
    try:
        return int(image.getexif().get(ExifTag.Orientation, 1))
    except Exception:  # noqa: BLE001  broken metadata must not fail a good picture, whatever it raises
        return 1


def _to_rgb(image: PillowImage.Image) -> PillowImage.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return PillowImage.fromarray(_grey_levels(image)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        page = PillowImage.new("RGB", rgba.size, "white")
        page.paste(rgba, mask=rgba)
        return page
    return image if image.mode == "RGB" else image.convert("RGB")


def _grey_levels(image: PillowImage.Image) -> NDArray[np.uint8]:
    """Deep greys as 8 bits, (H, W).

    I;16 is scaled from the bits per sample its file states, 16 where it states none. For 32-bit integers and floats no
    file states a range: it is the smallest of 0..1 (floats only), 0..255, 0..65535 and 0..2^32-1 that holds the values.
    """
    if image.mode.startswith("I;16"):
        bits = image.tag_v2.get(ExifTag.BitsPerSample, (16,))[0] if isinstance(image, TiffImageFile) else 16
        levels = np.arange(65536, dtype=np.float32) * (255 / (2**bits - 1)) + 0.5
        table: NDArray[np.uint8] = levels.clip(0, 255).astype(np.uint8)
        greys: NDArray[np.uint8] = table[np.asarray(image)]
        return greys
    values = np.array(image, np.float32)
    np.nan_to_num(values, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    steps = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
    values *= 255 / next((step for step in steps if values.max() <= step), 2.0**32 - 1)
    values += 0.5
    values.clip(0, 255, out=values)
    return values.astype(np.uint8)
