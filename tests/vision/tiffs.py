"""TIFFs in layouts that few programs write, made byte by byte."""

import struct
import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

KINDS = {"u": 1, "i": 2, "f": 3}


def _literal_packbits(data: bytes) -> bytes:
    return b"".join(bytes([len(part) - 1]) + part for part in (data[n : n + 128] for n in range(0, len(data), 128)))


def _literal_lzw(data: bytes) -> bytes:
    """Codes of 9 bits, started afresh before they would become longer."""
    codes = []
    for start in range(0, len(data), 200):
        codes += [256, *data[start : start + 200]]
    numbers = np.array([*codes, 257], ">u2")[:, None].view(np.uint8)
    return np.packbits(np.unpackbits(numbers, axis=1)[:, 7:]).tobytes()


PACKED: dict[int, Callable[[bytes], bytes]] = {
    1: bytes,
    5: _literal_lzw,
    8: zlib.compress,
    32773: _literal_packbits,
}
"""By the number of the compression."""


def tiff_of(  # noqa: PLR0913  one for each way in which layouts differ
    samples: NDArray[np.generic],
    photometric: int = 1,
    *,
    order: str = "<",
    compression: int = 1,
    predictor: int = 1,
    is_planar: bool = False,
    tile: int = 0,
    rows: int = 7,
    extra: tuple[int, ...] = (),
    tags: dict[int, int] | None = None,
) -> bytes:
    """The TIFF of (H, W, samples), with strips of so many ``rows`` or square tiles, and more ``tags`` of one number."""
    height, width, count = samples.shape
    planes = [samples[..., n : n + 1] for n in range(count)] if is_planar else [samples]
    blocks = [
        PACKED[compression](_predicted(block, predictor, order))
        for plane in planes
        for block in (_tiles(plane, tile) if tile else [plane[y : y + rows] for y in range(0, height, rows)])
    ]
    numbers: dict[int, tuple[int, ...]] = {
        256: (width,),
        257: (height,),
        258: (samples.dtype.itemsize * 8,) * count,
        259: (compression,),
        262: (photometric,),
        277: (count,),
        284: (2 if is_planar else 1,),
        317: (predictor,),
        339: (KINDS[samples.dtype.kind],) * count,
    }
    numbers |= {tag: (value,) for tag, value in (tags or {}).items()}
    if extra:
        numbers[338] = extra
    numbers |= {322: (tile,), 323: (tile,)} if tile else {278: (rows,)}
    places, lengths = (324, 325) if tile else (273, 279)
    numbers[lengths] = tuple(map(len, blocks))
    start = 8 + 2 + 12 * (len(numbers) + 1) + 4
    behind = start + 4 * sum(len(values) for values in numbers.values() if len(values) > 1)
    behind += 4 * len(blocks) if len(blocks) > 1 else 0
    offsets = behind + np.cumsum([0, *numbers[lengths][:-1]])
    numbers[places] = tuple(int(offset) for offset in offsets)
    entries, lists = [], b""
    for tag, values in sorted(numbers.items()):
        packed = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) > 1:
            packed, lists = struct.pack(order + "I", start + len(lists)), lists + packed
        entries.append(struct.pack(order + "HHI", tag, 4, len(values)) + packed)
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    head = mark + struct.pack(order + "IH", 8, len(entries))
    return head + b"".join(entries) + bytes(4) + lists + b"".join(blocks)


def _tiles(plane: NDArray[np.generic], side: int) -> list[NDArray[np.generic]]:
    height, width, count = plane.shape
    padded = np.zeros((-(-height // side) * side, -(-width // side) * side, count), plane.dtype)
    padded[:height, :width] = plane
    return [
        padded[y : y + side, x : x + side]
        for y in range(0, padded.shape[0], side)
        for x in range(0, padded.shape[1], side)
    ]


def _predicted(block: NDArray[np.generic], predictor: int, order: str) -> bytes:
    """The bytes of a strip or tile, each number as its difference to that of the pixel before where that is asked."""
    size = block.dtype.itemsize
    if predictor == 3:  # bytes of floats, the highest ones of a row first
        planes = np.moveaxis(block.astype(">f4").view(np.uint8).reshape(block.shape[0], -1, 4), 2, 1)
        numbers = planes.reshape(block.shape[0], -1, block.shape[2])
    else:
        numbers = np.ascontiguousarray(block).view(f"u{size}")
    if predictor > 1:
        numbers = np.diff(numbers, axis=1, prepend=numbers[:, :1] * 0)
    return numbers.astype(f"{order}u{numbers.dtype.itemsize}").tobytes()
