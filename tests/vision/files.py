"""Image files, whole and hostile, made byte by byte for the tests of decoding."""

import io
import struct
import zlib

import numpy as np
import pillow_heif
import skimage.data
from numpy.typing import NDArray
from PIL import Image as PillowImage

APP1 = 0xE1
SOS = b"\xff\xda"
EOI = b"\xff\xd9"
STORED_AS = {
    1: None,
    2: PillowImage.Transpose.FLIP_LEFT_RIGHT,
    3: PillowImage.Transpose.ROTATE_180,
    4: PillowImage.Transpose.FLIP_TOP_BOTTOM,
    5: PillowImage.Transpose.TRANSPOSE,
    6: PillowImage.Transpose.ROTATE_90,
    7: PillowImage.Transpose.TRANSVERSE,
    8: PillowImage.Transpose.ROTATE_270,
}
"""EXIF orientation -> how the pixels of an upright picture are turned in the file."""


def encoded(image: PillowImage.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    if image_format == "HEIC":
        pillow_heif.from_pillow(image).save(buffer, **{"enc_params": {"preset": "ultrafast"}, **options})
    else:
        image.save(buffer, image_format, **options)
    return buffer.getvalue()


def cat() -> NDArray[np.uint8]:
    """A real photo, (300, 451, 3)."""
    return np.asarray(skimage.data.chelsea(), np.uint8)


def photo(width: int = 64, height: int = 48) -> PillowImage.Image:
    """Red grows to the right, green downwards, so that every orientation differs from every other."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return PillowImage.fromarray(np.stack([x, y, np.full_like(x, 40)], axis=-1).astype(np.uint8))


def noise(*shape: int) -> PillowImage.Image:
    """Of height, width and perhaps channels."""
    return PillowImage.fromarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8))


def jpeg_segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def exif(orientation: int, kind: int = 3) -> bytes:
    """An EXIF block with nothing but the orientation, as type SHORT unless told otherwise."""
    directory = struct.pack("<HHHIHHI", 1, 0x0112, kind, 1, orientation, 0, 0)
    return b"Exif\0\0II*\0\x08\0\0\0" + directory


def with_segments(jpeg: bytes, *segments: bytes) -> bytes:
    """The JPEG with segments right after its start."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def with_scans(jpeg: bytes, count: int) -> bytes:
    """A progressive JPEG with its last scan repeated until there are ``count``."""
    last = jpeg[jpeg.rindex(SOS) : jpeg.rindex(EOI)]
    return jpeg[: jpeg.rindex(EOI)] + last * (count - jpeg.count(SOS)) + EOI


def lossless_jpeg(width: int, height: int) -> bytes:
    """A grey JPEG whose frame is lossless: every pixel is as its neighbour."""
    frame = jpeg_segment(0xC3, struct.pack(">BHHBBBB", 8, height, width, 1, 1, 0x11, 0))
    table = jpeg_segment(0xC4, b"\0\1" + bytes(15) + b"\0")  # one code, the bit 0, for "no difference"
    scan = jpeg_segment(0xDA, bytes([1, 1, 0, 1, 0, 0]))
    return b"\xff\xd8" + frame + table + scan + bytes((width * height + 7) // 8) + EOI


def png_chunk(kind: bytes, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def png_header(width: int, height: int) -> bytes:
    """A PNG of that size without pixels."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT")


def with_chunks(png: bytes, *chunks: bytes) -> bytes:
    """The PNG with chunks right after its header."""
    return png[:33] + b"".join(chunks) + png[33:]


def tiff(entries: dict[int, tuple[int, int, int]], data: bytes = b"") -> bytes:
    """A little-endian TIFF of one directory: tag -> type, count, value; ``data`` follows it."""
    fields = b"".join(struct.pack("<HHII", tag, *entry) for tag, entry in sorted(entries.items()))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + fields + bytes(4) + data


def rle_bmp(
    width: int, height: int, codes: bytes, palette: bytes, *, is_rle4: bool = False, is_top_down: bool = False
) -> bytes:
    """A BMP of 16 or 256 colours with these run-length codes; four bytes of the palette are a colour."""
    palette = palette[: 64 if is_rle4 else 1024]
    kind = (4, 2) if is_rle4 else (8, 1)
    signed = -height if is_top_down else height
    header = struct.pack("<IiiHHIIiiII", 40, width, signed, 1, *kind, len(codes), 0, 0, len(palette) // 4, 0)
    start = 54 + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(codes), 0, 0, start) + header + palette + codes


def webp_header(width: int, height: int) -> bytes:
    """An extended WebP of that canvas without a picture in it."""
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + canvas
    return b"RIFF" + struct.pack("<I", len(body)) + body


def box(kind: bytes, content: bytes = b"") -> bytes:
    """A box of an ISO base media file."""
    return struct.pack(">I4s", 8 + len(content), kind) + content


def heif(
    brand: bytes,
    items: dict[int, tuple[bytes, bytes, tuple[int, int], bytes]],
    references: bytes = b"",
) -> bytes:
    """A file of items, number -> kind, content, size and decoder configuration; the first is the picture."""
    codec = {b"av01": b"av1C", b"hvc1": b"hvcC"}
    infos = b"".join(
        box(b"infe", b"\2\0\0\0" + struct.pack(">HH", number, 0) + kind + b"\0") for number, (kind, *_) in items.items()
    )
    properties, associations = [], b""
    for number, (kind, _, size, configuration) in items.items():
        properties.append(box(b"ispe", bytes(4) + struct.pack(">II", *size)))
        indices = [len(properties)]
        if kind in codec:
            properties.append(box(codec[kind], configuration))
            indices.append(len(properties))
        associations += struct.pack(">HB", number, len(indices)) + bytes(indices)
    content = b"".join(item[1] for item in items.values())

    def meta(start: int) -> bytes:
        places = b""
        for number, item in items.items():
            places += struct.pack(">HHHII", number, 0, 1, start, len(item[1]))
            start += len(item[1])
        return box(
            b"meta",
            bytes(4)
            + box(b"hdlr", bytes(8) + b"pict" + bytes(13))
            + box(b"pitm", bytes(4) + struct.pack(">H", next(iter(items))))
            + box(b"iloc", bytes(4) + b"\x44\0" + struct.pack(">H", len(items)) + places)
            + box(b"iinf", bytes(4) + struct.pack(">H", len(items)) + infos)
            + references
            + box(
                b"iprp",
                box(b"ipco", b"".join(properties))
                + box(b"ipma", bytes(4) + struct.pack(">I", len(items)) + associations),
            ),
        )

    head = box(b"ftyp", brand + bytes(4) + brand + b"mif1")
    start = len(head) + len(meta(0)) + 8
    return head + meta(start) + box(b"mdat", content)
