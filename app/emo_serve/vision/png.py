"""PNG: the chunks that make up the picture, without ancillary ones.

Pillow reads every chunk, and fails for the whole picture if a text is damaged or too long. So ancillary chunks are
removed before decoding.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from emo_serve.errors import ImageTooLarge, UnsupportedMediaType
from emo_serve.vision.colours import MAX_PROFILE_BYTES

MAX_PNG_CHUNKS = 20_000

_START = 8  # bytes of the signature
_AROUND = 12  # bytes of a chunk around its payload: length, name and checksum
_COLOURS = 25  # offset of the colour type
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # per pixel, by colour type
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column and row of each pass of an interlaced picture, and the steps to the next ones."""
_PIECE = 1024 * 1024
_SIDE_CHUNKS = frozenset({b"tRNS", b"eXIf"})  # those that affect the shown picture
_TRANSPARENT_BYTES = {0: (2, 2), 2: (6, 6), 3: (1, 256)}  # least and most in tRNS, by colour type


class Png(NamedTuple):
    """Input of the decoder, facts from the header, and the colour profile, empty if it is missing or unreadable.

    ``size`` is (width, height), ``sample_bytes`` the size of all samples.
    """

    data: bytes
    size: tuple[int, int]
    sample_bytes: int
    profile: bytes


def lacks_pixels(data: bytes) -> bool:
    """True if the compressed pixels end regularly before the last of them.

    Pillow leaves the others black and says nothing.
    """
    width, height, bits, colours, _, _, is_interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    missing = 0
    for left, top, step, row_step in _PASSES if is_interlaced else ((0, 0, 1, 1),):
        columns, rows = max(0, -(-(width - left) // step)), max(0, -(-(height - top) // row_step))
        missing += rows * (1 + (columns * bits * _SAMPLES[colours] + 7) // 8) if columns else 0
    stream = zlib.decompressobj()
    for chunk in _chunks(data):
        packed = data[chunk.start + 8 : chunk.end - 4] if chunk.kind == b"IDAT" else b""
        while packed and missing > 0:
            missing -= len(stream.decompress(packed, _PIECE))
            packed = stream.unconsumed_tail
    return missing > len(stream.flush())


class _Chunk(NamedTuple):
    kind: bytes
    start: int
    end: int


def read_png(data: bytes) -> Png:
    """The picture in ``data``; raises ImageTooLarge for too many chunks, UnsupportedMediaType for Apple's variant."""
    kept, profile, position, has_begun = [], b"", 0, False
    for chunk in _chunks(data):
        if chunk.kind == b"CgBI":
            msg = "The PNG image is of a kind for Apple's devices only (CgBI), which is not supported; PNG itself is."
            raise UnsupportedMediaType(msg)
        has_begun |= chunk.kind == b"IDAT"
        is_late = has_begun and chunk.kind != b"eXIf"  # decoders pass it over, so no viewer obeys it
        if chunk.kind[:1].isupper() or (chunk.kind in _SIDE_CHUNKS and not is_late and _is_usable(data, chunk)):
            continue
        if chunk.kind == b"iCCP" and not profile and not is_late and _is_whole(data, chunk):
            profile = _unpacked(data[chunk.start + 8 : chunk.end - 4])
        kept.append(data[position : chunk.start])
        position = chunk.end
    width, height, bits, colours = struct.unpack_from(">IIBB", data[:26].ljust(26, b"\0"), 16)
    sample_bytes = width * height * bits * _SAMPLES.get(colours, 1) // 8
    return Png(b"".join((*kept, data[position:])) if kept else data, (width, height), sample_bytes, profile)


def _chunks(data: bytes) -> Iterator[_Chunk]:
    """All chunks up to the end of the picture; the last one may be truncated."""
    position = _START
    for _ in range(MAX_PNG_CHUNKS):
        if position + 8 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + _AROUND + length
        yield _Chunk(kind, position, end)
        if kind == b"IEND":
            return
        position = end
    msg = f"The PNG image has more than {MAX_PNG_CHUNKS} chunks, which would take too long to decode."
    raise ImageTooLarge(msg)


def _is_usable(data: bytes, chunk: _Chunk) -> bool:
    """Whether it is whole, and as long as its picture needs it: for a shorter one Pillow refuses the picture."""
    if chunk.kind == b"tRNS":
        least, most = _TRANSPARENT_BYTES.get(data[_COLOURS], (1, 0))
        if not least <= chunk.end - chunk.start - _AROUND <= most:
            return False
    return _is_whole(data, chunk)


def _is_whole(data: bytes, chunk: _Chunk) -> bool:
    if chunk.end > len(data):
        return False
    checksum = zlib.crc32(memoryview(data)[chunk.start + 4 : chunk.end - 4])
    return checksum == int.from_bytes(data[chunk.end - 4 : chunk.end], "big")


def _unpacked(payload: bytes) -> bytes:
    """The profile in an iCCP chunk, behind its name, a zero and the compression method."""
    try:
        profile = zlib.decompressobj().decompress(payload[payload.index(0) + 2 :], MAX_PROFILE_BYTES + 1)
    except (ValueError, zlib.error):
        return b""
    return profile if len(profile) <= MAX_PROFILE_BYTES else b""
