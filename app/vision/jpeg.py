"""JPEG: what a file says about itself, read in bounded time before the decoder sees it, and its pixels.

libjpeg, as Pillow has it, is given the bytes as they are. Pillow's reader of JPEG files is left out: it goes through
the tables, profiles and application data of a file in Python, which nothing here needs.
"""

import re
from typing import NamedTuple

from PIL import Image as PillowImage

from app.errors import ImageTooLarge, ImageUndecodable, UnsupportedMediaType

JPEG_START = b"\xff\xd8\xff"
MAX_JPEG_SEGMENTS = 5_000

# Those with a payload. FF 00 and FF D0..D7 stand inside of scans; the end of the picture counts after one.
_MARKER = re.compile(rb"\xff[\xc0-\xc7\xc9-\xcf\xda-\xef\xfe]")
_MARKER_OR_END = re.compile(rb"\xff[\xc0-\xc7\xc9-\xcf\xd9-\xef\xfe]")
_SOS, _EOI, _APP1 = 0xDA, 0xD9, 0xE1
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ARITHMETIC_CODING = frozenset({0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_SEQUENTIAL = frozenset({0xC0, 0xC1})
_UNSCALABLE = frozenset({0xC3, 0xC5, 0xC6, 0xC7})  # lossless frames, and those of several layers

_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_BITS = 8
_LEAST_FRAME = 6  # bytes
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_RAW_MODES = {"L": "L", "RGB": "RGB", "CMYK": "CMYK;I"}  # Adobe, who alone write four components, invert them


class JpegHeader(NamedTuple):
    """What decoding will take and give.

    ``mode`` is Pillow's, ``scans`` how often the decoder passes over the pixels, ``is_scalable`` whether it can give a
    fraction of them at less cost; ``exif`` and ``xmp``, empty where there is none, may hold the orientation.
    """

    width: int
    height: int
    mode: str
    scans: int
    is_scalable: bool
    exif: bytes
    xmp: bytes


def read_jpeg(data: bytes) -> JpegHeader:
    """The header of a JPEG file.

    Raises UnsupportedMediaType for arithmetic coding, ImageTooLarge for too many segments and ImageUndecodable where
    there is no picture that can be decoded. Where a file is broken further on, the decoder finds out.
    """
    kind, frame, scans, blocks = 0, b"", 0, []
    position, pattern = 2, _MARKER
    for _ in range(MAX_JPEG_SEGMENTS):
        match = pattern.search(data, position)
        if match is None or (marker := data[match.end() - 1]) == _EOI:
            break
        position = match.end()
        # A length below its own two bytes is broken, but the decoder goes on behind those.
        end = position + max(2, int.from_bytes(data[position : position + 2], "big"))
        if end > len(data):
            break
        payload = data[position + 2 : end]
        if marker == _SOS:
            scans += 1
            if kind in _SEQUENTIAL and payload[:1] >= frame[5:6]:
                break  # it holds all components: the decoder reads no other. To look through it all would take time
            pattern = _MARKER_OR_END
        elif marker in _FRAMES and not frame:
            kind, frame = marker, _checked_frame(marker, payload)
        elif marker == _APP1 and not scans:
            blocks.append(payload)
        position = end
    else:
        msg = f"The JPEG image has more than {MAX_JPEG_SEGMENTS} segments, which would take too long to decode."
        raise ImageTooLarge(msg)
    if not frame:
        msg = "The JPEG image cannot be decoded, it is truncated or broken (it has no frame)."
        raise ImageUndecodable(msg)
    height, width = _sides(frame)
    exif = b"".join(block[len(_EXIF) :] for block in blocks if block.startswith(_EXIF))
    xmp = next((block[len(_XMP) :] for block in reversed(blocks) if block.startswith(_XMP)), b"")
    return JpegHeader(width, height, _MODES[frame[5]], max(scans, 1), kind not in _UNSCALABLE, exif, xmp)


def _checked_frame(marker: int, frame: bytes) -> bytes:
    """The payload of a frame that can be decoded: bits, height, width, components in 1, 2, 2 and 1 bytes, and more."""
    if marker in _ARITHMETIC_CODING:
        msg = "The JPEG image uses arithmetic coding, which is not supported; Huffman coding is."
        raise UnsupportedMediaType(msg)
    if len(frame) < _LEAST_FRAME:
        problem = "its frame is cut off"
    elif frame[0] != _BITS:
        problem = f"it has {frame[0]} bits a value, where {_BITS} are supported"
    elif frame[5] not in _MODES:
        problem = f"it has {frame[5]} components, where 1, 3 and 4 are supported"
    elif 0 in _sides(frame):
        problem = "its frame gives no size"
    else:
        return frame
    msg = f"The JPEG image cannot be decoded, it is truncated or broken ({problem})."
    raise ImageUndecodable(msg)


def _sides(frame: bytes) -> tuple[int, int]:
    """Height and width."""
    return int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")


def decode_jpeg(data: bytes, header: JpegHeader, scale: int) -> PillowImage.Image:
    """Its pixels, both sides divided by ``scale``, 1, 2, 4 or 8, and rounded up; RGB, grey or CMYK.

    Raises OSError where they are broken or not all there.
    """
    size = -(-header.width // scale), -(-header.height // scale)
    image = PillowImage.new(header.mode, size, None)
    try:
        image.frombytes(data, "jpeg", _RAW_MODES[header.mode], "", scale, 0)
    except ValueError as error:
        raise OSError(*error.args) from None
    return image
