"""AVIF and HEIC: pictures coded as one frame of a video.

A small file can hold a frame far larger than it says, or many that are decoded and never shown. So the headers of the
code itself are read before it is decoded.
"""

import io

from PIL import AvifImagePlugin, features
from PIL.ImageFile import ImageFile

from emo_serve.errors import ImageTooLarge, ImageUndecodable, UnsupportedMediaType
from emo_serve.vision.coded import read_av1, read_hevc
from emo_serve.vision.items import MAX_HEIF_ITEMS, Item, Items, read_items

try:
    import pillow_heif
except ImportError:  # the optional extra `heic`
    HAS_HEIC = False
else:
    HAS_HEIC = True
    # A request has one core, and nothing but the picture itself is wanted.
    pillow_heif.options.DECODE_THREADS = 1
    pillow_heif.options.THUMBNAILS = pillow_heif.options.DEPTH_IMAGES = pillow_heif.options.AUX_IMAGES = False

HAS_AVIF: bool = features.check("avif") is True
"""Pillow's own packages have it; one that was built elsewhere may not."""

AvifImagePlugin.DEFAULT_MAX_THREADS = 1

_CODES = {"AVIF": b"av01", "HEIC": b"hvc1"}
_GRID = b"grid"
_BLOCK = 64  # pixels that a coded side may be longer than the shown one
_MOST_CODED = 4  # pixels for each that is shown: tiles that are filled up, transparency, a coarse picture before
_LEAST_CODED = 1_000_000
_LEAST_BYTES = 1_000_000  # a byte costs these decoders as much as two pixels, so there may be one for each pixel


def read_heif_size(data: bytes, name: str) -> tuple[int, int]:
    """(width, height) of the picture of an AVIF or HEIC, not turned.

    Raises UnsupportedMediaType for another code, ImageTooLarge where more is coded than shown, ImageUndecodable.
    """
    found = read_items(data)
    primary = found.items.get(found.primary)
    if primary is None:
        msg = f"The {name} file holds no still picture, which is not supported; a sequence with one is."
        raise UnsupportedMediaType(msg)
    width, height = primary.shown or primary.size
    most = max(_LEAST_BYTES, width * height)
    if len(data) > most:
        msg = f"The {name} image of {width}x{height} pixels has {len(data)} bytes; allowed are {most} at this size."
        raise ImageTooLarge(msg)
    coded = sum(_coded_pixels(item, name) for item in _decoded_items(found, primary, name))
    allowed = max(_MOST_CODED * width * height, _LEAST_CODED)
    if coded > allowed:
        msg = f"The {name} image of {width}x{height} pixels codes {coded} pixels; allowed are {allowed}."
        raise ImageTooLarge(msg)
    return width, height


def _decoded_items(found: Items, primary: Item, name: str) -> list[Item]:
    """Each that is decoded for the picture, as often as it is; raises UnsupportedMediaType, ImageTooLarge."""
    shown = _tiles(found, primary)
    for item in shown:
        if item.kind != _CODES[name]:
            kind = item.kind.decode("latin-1")
            msg = f"The {name} image is coded as {kind!r}, which is not supported; {_CODES[name].decode()!r} is."
            raise UnsupportedMediaType(msg)
    beside = [found.items.get(number, Item()) for item in (primary, *shown) for number in set(item.auxiliaries)]
    decoded = shown + [tile for item in beside for tile in _tiles(found, item)]
    if len(decoded) > MAX_HEIF_ITEMS:
        msg = f"The {name} image is made of {len(decoded)} pictures; allowed are {MAX_HEIF_ITEMS}."
        raise ImageTooLarge(msg)
    return [item for item in decoded if item.kind == _CODES[name]]


def _tiles(found: Items, item: Item) -> list[Item]:
    """Those that an item is put together from; itself where it is coded as it is."""
    return [found.items.get(number, Item()) for number in item.parts] if item.kind == _GRID else [item]


def _coded_pixels(item: Item, name: str) -> int:
    size, pictures = read_av1(item.data) if name == "AVIF" else read_hevc(item.configuration, item.data)
    if size[0] > item.size[0] + _BLOCK or size[1] > item.size[1] + _BLOCK:
        msg = f"The {name} image is broken: it says {item.size[0]}x{item.size[1]} pixels and codes {size[0]}x{size[1]}."
        raise ImageUndecodable(msg)
    return size[0] * size[1] * max(pictures, 1)


def open_avif(data: bytes) -> ImageFile:
    """The picture, not decoded yet; of a sequence the still one, which is mostly its first."""
    if data[8:12] == b"avis":  # such a file is read as a sequence; as a still picture by the name of one
        data = data[:8] + b"avif" + data[12:]
    return AvifImagePlugin.AvifImageFile(io.BytesIO(data))


def open_heic(data: bytes) -> ImageFile:
    """The same for HEIC."""
    image: ImageFile = pillow_heif.HeifImageFile(io.BytesIO(data))  # type: ignore[no-untyped-call]
    return image
