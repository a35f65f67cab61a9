"""AVIF and HEIC: pictures coded as one frame of a video.

A small file can hold a frame far larger than it states, or many that are decoded and never shown. So the headers of
the code itself are read before decoding.
"""

import io

from PIL import AvifImagePlugin, features
from PIL.ImageFile import ImageFile

from emo_serve.errors import ImageTooLarge, ImageUndecodable, UnsupportedMediaType
from emo_serve.vision.bitstreams import read_av1, read_hevc
from emo_serve.vision.heif_items import MAX_HEIF_ITEMS, Item, Items, read_items

try:
    import pillow_heif
except ImportError:  # the optional extra `heic`
    HAS_HEIC = False
else:
    HAS_HEIC = True
    # A request has one core, and only the picture itself is needed.
    pillow_heif.options.DECODE_THREADS = 1
    pillow_heif.options.THUMBNAILS = pillow_heif.options.DEPTH_IMAGES = pillow_heif.options.AUX_IMAGES = False

HAS_AVIF: bool = features.check("avif") is True
"""Included in Pillow's own packages; other builds may lack it."""

AvifImagePlugin.DEFAULT_MAX_THREADS = 1

_CODES = {"AVIF": b"av01", "HEIC": b"hvc1"}
_GRID = b"grid"
_BLOCK = 64  # pixels by which a coded side may exceed the shown one
_MOST_CODED = 4  # coded pixels for each shown one: padded tiles, transparency, a preview
_LEAST_CODED = 1_000_000
_LEAST_BYTES = 1_000_000  # a byte costs these decoders as much as two pixels, so one per pixel is allowed


def read_heif_size(data: bytes, name: str) -> tuple[int, int]:
    """(width, height) of the picture of an AVIF or HEIC, before rotation.

    Raises UnsupportedMediaType for other codecs, ImageTooLarge if more is coded than shown, or ImageUndecodable.
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
    """The items that are decoded for the picture, once per use; raises UnsupportedMediaType or ImageTooLarge."""
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
    """The tiles of a grid item; the item itself if it is coded directly."""
    return [found.items.get(number, Item()) for number in item.parts] if item.kind == _GRID else [item]


def _coded_pixels(item: Item, name: str) -> int:
    size, pictures = read_av1(item.data) if name == "AVIF" else read_hevc(item.configuration, item.data)
    if size[0] > item.size[0] + _BLOCK or size[1] > item.size[1] + _BLOCK:
        msg = f"The {name} image is broken: it says {item.size[0]}x{item.size[1]} pixels and codes {size[0]}x{size[1]}."
        raise ImageUndecodable(msg)
    return size[0] * size[1] * max(pictures, 1)


def open_avif(data: bytes) -> ImageFile:
    """The picture, not decoded yet; of a sequence the still picture, which is mostly its first frame."""
    if data[8:12] == b"avis":  # decoded as a sequence unless renamed to a still picture
        data = data[:8] + b"avif" + data[12:]
    return AvifImagePlugin.AvifImageFile(io.BytesIO(data))


def open_heic(data: bytes) -> ImageFile:
    """The picture, not decoded yet."""
    image: ImageFile = pillow_heif.HeifImageFile(io.BytesIO(data))  # type: ignore[no-untyped-call]
    return image
