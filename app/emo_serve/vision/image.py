"""Encoded image bytes -> upright RGB pixels, within limits."""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image as PillowImage
from PIL import TiffImagePlugin
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ExifTags import Base as ExifTag
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from emo_serve.errors import ImageTooLarge, ImageUndecodable, ServiceError, UnsupportedMediaType
from emo_serve.vision.bmp import load_bmp
from emo_serve.vision.headers import Header, read_header
from emo_serve.vision.heif import open_avif, open_heic
from emo_serve.vision.jpeg import decode_jpeg, read_jpeg
from emo_serve.vision.picture import Picture
from emo_serve.vision.png import lacks_pixels
from emo_serve.vision.rgb import mend_palette, mend_transparency, to_rgb
from emo_serve.vision.sniffing import JPEG_START, format_of
from emo_serve.vision.tiff_samples import is_deep, read_samples

# Pillow warns about odd metadata in good pictures, which is of no use in a server's log. The filter is set once, here,
# because a filter around each call would not be thread-safe.
warnings.filterwarnings("ignore", module=r"PIL\.")

# Pillow itself reads the strips of an uncompressed TIFF one by one in Python: 0.2 seconds for 30,000 of one pixel.
TiffImagePlugin.READ_LIBTIFF = True

# The reader of each format but JPEG is called directly and not through `PIL.Image.open`: no file can be taken for
# another format, and Pillow's process-wide pixel limit does not interfere with ours.
_READERS: dict[str, Callable[[bytes], ImageFile]] = {
    "PNG": lambda data: PngImageFile(io.BytesIO(data)),
    "WEBP": lambda data: WebPImageFile(io.BytesIO(data)),
    "GIF": lambda data: GifImageFile(io.BytesIO(data)),
    "BMP": lambda data: BmpImageFile(io.BytesIO(data)),
    "TIFF": lambda data: TiffImagePlugin.TiffImageFile(io.BytesIO(data)),
    "AVIF": open_avif,
    "HEIC": open_heic,
}

MAX_SIDE = 65_535  # as in JPEG; very thin pictures cost memory and time by rows, not pixels
_MAX_EXIF_BYTES = 1024 * 1024
_LEAST_SCAN_PIXELS = 10_000  # minimal cost of a scan, even of an empty one
_SAMPLE_BYTES = 4  # for each allowed pixel: images of 16 bits a sample may have fewer
_UNKNOWN_KINDS = ("Unsupported BMP", "unknown pixel mode", "unknown data organization")  # Pillow's messages
_FRACTIONS = (8, 4, 2)  # at which a JPEG can be decoded with far less work


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Limits on the cost of one encoded image.

    ``max_scans`` bounds the work of decoding: a JPEG may make this many passes at ``max_pixels`` and more when it is
    smaller, in proportion. Typical progressive files have about 10. With them and the limits of ``headers`` no file
    takes much more than 60 ms of one core for a million pixels and 40 ms for a megabyte.
    """

    max_bytes: int = 20 * 1024 * 1024
    max_pixels: int = 50_000_000
    max_scans: int = 20


def decode(data: bytes, limits: ImageLimits, least_side: int | None = None) -> Picture:
    """The first picture in ``data``, transparency shown on white.

    Formats: JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF and, with its package, HEIC, detected by content. Deep samples are
    scaled to 8 bits, other colour spaces converted to sRGB. With a ``least_side`` a JPEG is decoded at 1/2, 1/4 or 1/8
    of its sides, if both keep that many pixels; limits apply to the whole image. Thread-safe. Raises
    UnsupportedMediaType, ImageTooLarge (judged by the header, before decoding) or ImageUndecodable (empty, truncated or
    broken), and nothing else whatever the bytes.
    """
    if not data:
        msg = "The image is empty (0 bytes)."
        raise ImageUndecodable(msg)
    if len(data) > limits.max_bytes:
        msg = f"The image has more than the {limits.max_bytes} bytes that are allowed."  # files are read no further
        raise ImageTooLarge(msg)
    name = "JPEG" if data.startswith(JPEG_START) else format_of(data)
    try:
        if name == "JPEG":
            return _from_jpeg(data, limits, least_side)
        return _from_file(name, read_header(data, name), limits)
    except ServiceError:
        raise
    except (MemoryError, PillowImage.DecompressionBombError) as error:
        msg = f"The {name} image is too large to decode."
        raise ImageTooLarge(msg) from error
    except Exception as error:  # on broken data Pillow raises nearly every built-in exception
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
    pixels, profile = to_rgb(image, header.profile)
    return Picture.stored(pixels, width, height, scale, orientation, profile)


def _from_file(name: str, header: Header, limits: ImageLimits) -> Picture:
    if header.size is not None:
        _check_cost(header.size, 1, limits)
    allowed = _SAMPLE_BYTES * limits.max_pixels
    if header.sample_bytes > allowed:
        msg = f"The {name} image has {header.sample_bytes} bytes of samples; allowed are {allowed}."
        raise ImageTooLarge(msg)
    if header.tiff is not None and is_deep(header.tiff):
        tiff = header.tiff
        pixels, profile = to_rgb(read_samples(header.data, tiff), tiff.profile)
        return Picture.stored(pixels, tiff.width, tiff.height, 1, tiff.orientation, profile)
    with _opened(name, header) as encoded:
        _check_cost(encoded.size, 1, limits)
        if isinstance(encoded, BmpImageFile):
            image: PillowImage.Image = load_bmp(encoded, header.data)
        else:
            if isinstance(encoded, TiffImagePlugin.TiffImageFile):
                mend_palette(encoded)
            encoded.load()
            image = encoded
        if isinstance(encoded, PngImageFile):
            if _ends_black(image) and lacks_pixels(header.data):
                msg = "not enough image data"
                raise OSError(msg)
            mend_transparency(image, header.data)
        width, height = image.size  # Pillow rotates TIFFs itself
        pixels, profile = to_rgb(image, header.profile or encoded.info.get("icc_profile", b""))
        return Picture.stored(pixels, width, height, 1, _orientation(encoded), profile)


def _ends_black(image: PillowImage.Image) -> bool:
    """True if one of the last two rows, the last ones that interlacing fills, is all zeros."""
    rows = np.asarray(image.crop((0, max(0, image.height - 2), *image.size)))
    return not rows.reshape(len(rows), -1).any(axis=1).all()


def _opened(name: str, header: Header) -> ImageFile:
    """Its reader, with the header parsed; raises UnsupportedMediaType for an intact variant that is not supported."""
    kind = "" if header.tiff is None else header.tiff.layout
    try:
        if header.tiff is None or header.tiff.samples <= TiffImagePlugin.MAX_SAMPLESPERPIXEL:  # or Pillow logs an error
            return _READERS[name](header.data)
    except (OSError, SyntaxError) as error:
        if not str(error).startswith(_UNKNOWN_KINDS):
            raise
        kind = kind or str(error)
    msg = f"The {name} image is of a kind that is not supported ({kind})."
    raise UnsupportedMediaType(msg)


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
    """EXIF orientation, 1 (upright) if it is missing or unreadable."""
    if len(image.info.get("exif") or b"") > _MAX_EXIF_BYTES:
        return 1
    try:
        return int(image.getexif().get(ExifTag.Orientation, 1))
    except Exception:  # noqa: BLE001  broken metadata must not fail a good picture
        return 1
