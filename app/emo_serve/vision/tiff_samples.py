"""The pixels of TIFFs with deep samples, of which Pillow supports only a few layouts.

libtiff, through Pillow, decompresses the bytes; they are interpreted here: chunky or planar samples, either byte order,
with or without transparency, and with white as the highest or the lowest number.
"""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from emo_serve.errors import UnsupportedMediaType
from emo_serve.vision.bit_depth import levels_of_16_bits, levels_of_numbers
from emo_serve.vision.tiff import Tiff

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _INKS = 0, 1, 2, 5
_COLOURS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _INKS: 4}
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_PREMULTIPLIED, _STRAIGHT = 1, 2
_DIFFERENCES, _FLOAT_DIFFERENCES = 2, 3
_DEEP = (16, 32)
_LONG = 4
_NO_FILE = 0


def is_deep(tiff: Tiff) -> bool:
    """True if its pixels are read here; Pillow reads those of up to 12 bits, and chunky colours of 16."""
    if tiff.photometric not in _COLOURS or tiff.samples < _COLOURS[tiff.photometric]:
        return False
    if tiff.bits == 16 and tiff.sample_kind == "u" and tiff.photometric in (_RGB, _INKS) and not tiff.is_planar:
        return len(tiff.extra) > 1 or (tiff.photometric == _INKS and bool(tiff.extra))
    is_grey_with_more = tiff.samples > 1 and (
        tiff.photometric == _WHITE_IS_ZERO or (tiff.photometric == _BLACK_IS_ZERO and tiff.is_planar)
    )
    return tiff.bits in _DEEP or (tiff.bits == 8 and (tiff.sample_kind == "i" or is_grey_with_more))


def read_samples(data: bytes, tiff: Tiff) -> PillowImage.Image:
    """The picture, scaled to 8 bits: grey, RGB or CMYK, with transparency if it has any.

    Raises OSError if it is truncated or broken, UnsupportedMediaType for an unknown predictor.
    """
    colours = _COLOURS[tiff.photometric]
    alpha = _alpha(tiff, colours)
    used = [*range(colours), *([colours] if alpha else [])]
    if tiff.is_planar:
        share = len(tiff.places) // tiff.samples
        parts = [_plane(data, tiff, range(one * share, (one + 1) * share), 1)[..., 0] for one in used]
        samples = np.stack(parts, axis=-1)
    else:
        samples = _plane(data, tiff, range(len(tiff.places)), tiff.samples)[..., used]
    levels = _levels(samples[..., :colours])
    if tiff.photometric == _WHITE_IS_ZERO:
        np.subtract(255, levels, out=levels)
    if alpha:
        levels = np.concatenate((np.broadcast_to(levels, (*levels.shape[:2], 3)), _levels(samples[..., colours:])), -1)
        image = PillowImage.frombytes(alpha, (tiff.width, tiff.height), levels.tobytes())
        return image.convert("RGBA")
    return PillowImage.frombytes(_MODES[colours], (tiff.width, tiff.height), levels.tobytes())


def _alpha(tiff: Tiff, colours: int) -> str:
    """Pillow's mode for its transparency, empty if it has none."""
    if tiff.samples == colours or tiff.photometric == _INKS:
        return ""
    kind = tiff.extra[0] if tiff.extra else _STRAIGHT if tiff.photometric == _RGB else 0
    return {_PREMULTIPLIED: "RGBa", _STRAIGHT: "RGBA"}.get(kind, "")


def _levels(samples: NDArray[Any]) -> NDArray[np.uint8]:
    return levels_of_16_bits(samples) if samples.dtype == np.uint16 else levels_of_numbers(samples)


def _plane(data: bytes, tiff: Tiff, strips: range, samples: int) -> NDArray[Any]:
    """(height, width, samples) of some of the strips or tiles."""
    size = tiff.bits // 8
    width, height = tiff.decoded
    tile = (tiff.tile[0] or width) * samples
    raw = _unpacked(data, tiff, strips, width * samples * size).reshape(height, -1, tile * size)
    if tiff.predictor == _FLOAT_DIFFERENCES and tiff.sample_kind == "f":
        deltas = raw.reshape(*raw.shape[:2], -1, samples)
        np.cumsum(deltas, axis=2, dtype=np.uint8, out=deltas)
        interleaved = np.ascontiguousarray(np.moveaxis(raw.reshape(*raw.shape[:2], size, tile), 2, 3))
        numbers: NDArray[Any] = interleaved.view(">f4").astype(np.float32)
    elif tiff.predictor in (1, _DIFFERENCES):
        kind = "u" if tiff.predictor == _DIFFERENCES else tiff.sample_kind
        numbers = raw.view(f"{tiff.order}{kind}{size}").astype(f"{kind}{size}", copy=False)
        if tiff.predictor == _DIFFERENCES:
            deltas = numbers.reshape(*raw.shape[:2], -1, samples)
            np.cumsum(deltas, axis=2, dtype=deltas.dtype, out=deltas)
            numbers = numbers.view(f"{tiff.sample_kind}{size}")
    else:
        msg = f"The TIFF image uses a predictor (number {tiff.predictor}) that is not supported."
        raise UnsupportedMediaType(msg)
    return numbers.reshape(height, width, samples)[: tiff.height, : tiff.width]


def _unpacked(data: bytes, tiff: Tiff, strips: range, row_bytes: int) -> NDArray[np.uint8]:
    """(rows * row_bytes), writable: libtiff is told that each byte is a grey pixel."""
    width, height = tiff.decoded
    places, lengths = tiff.places[strips.start : strips.stop], tiff.lengths[strips.start : strips.stop]
    if not places or len(places) != len(lengths):
        msg = "it has no pixels"
        raise OSError(msg)
    tags = {256: row_bytes, 257: height, 258: 8, 259: tiff.compression, 262: 1, 266: tiff.fill_order, 277: 1}
    lists = {273: places, 279: lengths}
    if tiff.tile[0]:
        lists = {324: places, 325: lengths}
        tags |= {322: tiff.tile[0] * row_bytes // width, 323: tiff.tile[1]}
    else:
        tags[278] = tiff.strip_rows
    image = PillowImage.new("L", (row_bytes, height))
    start = len(data) + len(data) % 2
    directory = _directory(tiff.order, start, tags, lists)
    rewritten = b"".join((data[:4], struct.pack(tiff.order + "I", start), data[8:].ljust(start - 8, b"\0"), directory))
    try:
        image.frombytes(rewritten, "libtiff", "L", _NO_FILE, start)
    except ValueError as error:
        raise OSError(*error.args) from None
    return np.array(image).reshape(-1)


def _directory(order: str, start: int, tags: dict[int, int], lists: dict[int, tuple[int, ...]]) -> bytes:
    """The bytes of a directory at offset ``start``, all of its values as LONG."""
    entries, behind = [], b""
    free = start + 2 + 12 * (len(tags) + len(lists)) + 4
    for tag in sorted({*tags, *lists}):
        values = lists.get(tag) or (tags[tag],)
        packed = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) > 1:
            packed, behind = struct.pack(order + "I", free + len(behind)), behind + packed
        entries.append(struct.pack(order + "HHI", tag, _LONG, len(values)) + packed)
    return struct.pack(order + "H", len(entries)) + b"".join(entries) + bytes(4) + behind
