"""JPEG: its header, parsed in bounded time before decoding, and its pixels.

libjpeg, through Pillow, gets the bytes unchanged. Pillow's own JPEG reader is bypassed: it parses tables, profiles and
application data in Python, which is not needed here.
"""

import re
from typing import NamedTuple

from PIL import Image as PillowImage

from emo_serve.errors import ImageTooLarge, ImageUndecodable, InvalidRequest, UnsupportedMediaType

MAX_JPEG_SEGMENTS = 5_000

# Markers with a payload. FF 00 and FF D0..D7 occur inside scans; the end of the picture counts only after one.
_MARKER = re.compile(rb"\xff[\xc0-\xc7\xc9-\xcf\xda-\xef\xfe]")
_MARKER_OR_END = re.compile(rb"\xff[\xc0-\xc7\xc9-\xcf\xd9-\xef\xfe]")
_SOS, _EOI = 0xDA, 0xD9
_METADATA = frozenset({0xE1, 0xE2})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ARITHMETIC_CODING = frozenset({0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_SEQUENTIAL = frozenset({0xC0, 0xC1})
_PROGRESSIVE = 0xC2
_UNSCALABLE = frozenset({0xC3, 0xC5, 0xC6, 0xC7})  # lossless and hierarchical frames
_LS_FRAME = b"\xff\xf7"  # of JPEG-LS, which begins like any JPEG

_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_ICC = b"ICC_PROFILE\0"
_BITS = 8
_LEAST_FRAME = 6  # bytes
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_RAW_MODES = {"L": "L", "RGB": "RGB", "CMYK": "CMYK;I"}  # only Adobe's software writes four components, inverted
_END = b"\xff\xd9"
_BLOCK = 8  # pixels of a side
_MISSING = frozenset({127, 128})  # what the decoder shows where there is no code, in any mode
# Padding bits, also after each of the markers at which decoders resynchronize.
_NOISE = b"".join(b"\xb6\x5d\x93\x2b" * 8 + bytes((0xFF, 0xD0 + count % 8)) for count in range(16))


class JpegHeader(NamedTuple):
    """Cost and properties of decoding a file.

    ``mode`` is Pillow's, ``scans`` the number of passes over the pixels, ``is_scalable`` whether it can be decoded at a
    fraction of its size at less cost; ``exif`` and ``xmp``, empty if missing, may hold the orientation, and ``profile``
    is the colour profile. ``pixels_at`` is where the code of the last scan begins, ``has_end`` is True if the end
    marker is present.
    """

    width: int
    height: int
    mode: str
    scans: int
    is_scalable: bool
    exif: bytes
    xmp: bytes
    profile: bytes
    pixels_at: int
    has_end: bool


def read_jpeg(data: bytes) -> JpegHeader:
    """The header of a JPEG file.

    Raises UnsupportedMediaType for arithmetic coding and other unsupported variants, ImageTooLarge for too many
    segments and ImageUndecodable if there is no picture that can be decoded. Faults further on are found by the
    decoder. Decoding a file without its end marker takes two passes.
    """
    kind, frame, scans, blocks = 0, b"", [], []
    position, pattern = 2, _MARKER
    for _ in range(MAX_JPEG_SEGMENTS):
        match = pattern.search(data, position)
        if match is None or (marker := data[match.end() - 1]) == _EOI:
            break
        position = match.end()
        # A length below its own two bytes is invalid, but the decoder continues behind those.
        end = position + max(2, int.from_bytes(data[position : position + 2], "big"))
        if end > len(data):
            break
        payload = data[position + 2 : end]
        if marker == _SOS:
            scans.append(payload)
            if kind in _SEQUENTIAL and payload[:1] >= frame[5:6]:
                position = end
                break  # it holds all components, so the decoder reads no other scan
            pattern = _MARKER_OR_END
        elif marker in _FRAMES:
            kind, frame = (kind, frame) if frame else (marker, _checked_frame(marker, payload))
        elif marker in _METADATA and not scans:
            blocks.append(payload)
        position = end
    else:
        msg = f"The JPEG image has more than {MAX_JPEG_SEGMENTS} segments, which would take too long to decode."
        raise ImageTooLarge(msg)
    if not frame:
        raise _without_frame(data[position : position + len(_LS_FRAME)])
    height, width = _sides(frame)
    has_end = data.rfind(_END, position) >= 0  # usually the last bytes
    if not has_end and not _is_complete(kind, frame, scans):
        msg = "The JPEG image cannot be decoded, it is truncated or broken (some of its scans are not there)."
        raise ImageUndecodable(msg)
    passes = max(len(scans), 1) * (1 if has_end else 2)
    is_scalable = kind not in _UNSCALABLE and has_end  # only full decoding detects missing data
    exif, xmp, profile = _metadata(blocks) if blocks else (b"", b"", b"")
    return JpegHeader(width, height, _MODES[frame[5]], passes, is_scalable, exif, xmp, profile, position, has_end)


def _metadata(blocks: list[bytes]) -> tuple[bytes, bytes, bytes]:
    """EXIF, joined from its parts; the last XMP; and the colour profile, joined from its numbered parts."""
    exif = b"".join(block[len(_EXIF) :] for block in blocks if block.startswith(_EXIF))
    xmp = next((block[len(_XMP) :] for block in reversed(blocks) if block.startswith(_XMP)), b"")
    parts = [block[len(_ICC) :] for block in blocks if block.startswith(_ICC)]
    return exif, xmp, b"".join(part[2:] for part in sorted(parts, key=lambda part: part[:1]))


def _is_complete(kind: int, frame: bytes, scans: list[bytes]) -> bool:
    """True if the scans that have begun cover the whole picture."""
    missing = {component: set(range(64)) for component in frame[6::3][: frame[5]]}
    for scan in scans:
        count = scan[0] if scan else 0
        first, last, bits = scan[1 + 2 * count : 4 + 2 * count].ljust(3, b"\0")
        for component in scan[1 : 1 + 2 * count : 2]:
            if kind != _PROGRESSIVE:
                missing.pop(component, None)
            elif not bits & 15 and component in missing:  # down to the last bit
                missing[component] -= set(range(first, last + 1))
    return not any(missing.values())


def _without_frame(marker: bytes) -> InvalidRequest:
    if marker == _LS_FRAME:
        return UnsupportedMediaType("The image is JPEG-LS, which is not supported; JPEG is.")
    return ImageUndecodable("The JPEG image cannot be decoded, it is truncated or broken (it has no frame).")


def _checked_frame(marker: int, frame: bytes) -> bytes:
    """The payload of a supported frame: bits, height, width, components in 1, 2, 2 and 1 bytes, and more."""
    if marker in _ARITHMETIC_CODING:
        msg = "The JPEG image uses arithmetic coding, which is not supported; Huffman coding is."
        raise UnsupportedMediaType(msg)
    problem = ""
    if len(frame) < _LEAST_FRAME:
        problem = "its frame is cut off"
    elif 0 in _sides(frame):
        problem = "its frame gives no size"
    if problem:
        msg = f"The JPEG image cannot be decoded, it is truncated or broken ({problem})."
        raise ImageUndecodable(msg)
    if frame[0] != _BITS or frame[5] not in _MODES:
        msg = (
            f"The JPEG image has {frame[0]} bits a value and {frame[5]} components, which is not supported; allowed "
            f"are {_BITS} bits and 1, 3 or 4 components."
        )
        raise UnsupportedMediaType(msg)
    return frame


def _sides(frame: bytes) -> tuple[int, int]:
    """Height and width."""
    return int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")


def decode_jpeg(data: bytes, header: JpegHeader, scale: int) -> PillowImage.Image:
    """Its pixels, both sides divided by ``scale``, 1, 2, 4 or 8, and rounded up; RGB, grey or CMYK.

    The picture is complete if only the end marker is missing. Raises OSError if the pixels are broken or incomplete.
    """
    image = None
    if header.has_end:
        image = _decoded(data, header, scale)
        if header.scans > 1 or not _ends_grey(image, _BLOCK // scale):
            return image
        data = data[: data.find(_END, header.pixels_at)]
    # libjpeg does not report missing data; but then the result depends on the bytes behind.
    rest = data.rstrip(b"\xff")
    whole = _decoded(rest + _END, header, 1)
    is_suspect = image is None or _ends_grey(whole, _BLOCK)
    if is_suspect and whole.tobytes() != _decoded(rest + _NOISE + _END, header, 1).tobytes():
        msg = "not enough image data"
        raise OSError(msg)
    return image or whole


def _ends_grey(image: PillowImage.Image, side: int) -> bool:
    """True if its last block, of ``side`` pixels or its visible part, looks as if it were missing."""
    left, top = ((length - 1) // side * side for length in image.size)
    return _MISSING.issuperset(image.crop((left, top, *image.size)).tobytes())


def _decoded(data: bytes, header: JpegHeader, scale: int) -> PillowImage.Image:
    size = -(-header.width // scale), -(-header.height // scale)
    image = PillowImage.new(header.mode, size, None)
    try:
        image.frombytes(data, "jpeg", _RAW_MODES[header.mode], "", scale, 0)
    except ValueError as error:
        raise OSError(*error.args) from None
    return image
