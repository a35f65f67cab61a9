"""Detection of file formats by their first bytes.

Besides the formats that are decoded it knows common others, so that a refusal can name them.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

from emo_serve.errors import UnsupportedMediaType
from emo_serve.vision.heif import HAS_AVIF, HAS_HEIC

JPEG_START = b"\xff\xd8\xff"
_BASIC = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
FORMATS = _BASIC + ("AVIF",) * HAS_AVIF + ("HEIC",) * HAS_HEIC
"""Formats that can be decoded."""

_STARTS: Mapping[bytes, str] = MappingProxyType(
    {
        JPEG_START: "JPEG",
        b"\x89PNG\r\n\x1a\n": "PNG",
        b"GIF87a": "GIF",
        b"GIF89a": "GIF",
        b"BM": "BMP",
        b"II*\0": "TIFF",
        b"MM\0*": "TIFF",
    }
)
_OTHER_STARTS: Mapping[bytes, str] = MappingProxyType(
    {
        b"\xff\x0a": "a JPEG XL image",
        b"\0\0\0\x0cJXL \r\n\x87\n": "a JPEG XL image",
        b"\0\0\0\x0cjP  \r\n\x87\n": "a JPEG 2000 image",
        b"\xff\x4f\xff\x51": "a JPEG 2000 image",
        b"II\xbc": "a JPEG XR image",
        b"II+\0": "a BigTIFF image",
        b"MM\0+": "a BigTIFF image",
        b"%PDF-": "a PDF document",
        b"%!PS": "a PostScript document",
        b"\xc5\xd0\xd3\xc6": "a PostScript document",
        b"AT&TFORM": "a DjVu document",
        b"8BPS": "a Photoshop file (PSD)",
        b"gimp xcf": "a GIMP file (XCF)",
        b"\0\0\1\0": "an icon (ICO)",
        b"\0\0\2\0": "a cursor (CUR)",
        b"icns": "an icon (ICNS)",
        b"qoif": "a QOI image",
        b"\x0a\x05\x01": "a PCX image",
        b"DDS ": "a DDS texture",
        b"\x76\x2f\x31\x01": "an OpenEXR image",
        b"#?RADIANCE": "a Radiance HDR image",
        b"#?RGBE": "a Radiance HDR image",
        b"SIMPLE  =": "a FITS image",
        b"\x01\xda": "an SGI image",
        b"\x59\xa6\x6a\x95": "a Sun raster image",
        b"\xd7\xcd\xc6\x9a": "a Windows metafile (WMF)",
        b"\x8aMNG\r\n\x1a\n": "an MNG animation",
        b"BPG\xfb": "a BPG image",
        b"FUJIFILMCCD-RAW": "a raw photo (RAF)",
        b"IIRO": "a raw photo (ORF)",
        b"IIRS": "a raw photo (ORF)",
        b"IIU\0": "a raw photo (RW2)",
        b"FOVb": "a raw photo (X3F)",
        b"\0MRM": "a raw photo (MRW)",
        b"II\x1a\0\0\0HEAPCCDR": "a raw photo (CRW)",
        b"\x1a\x45\xdf\xa3": "a WebM or Matroska video",
        b"\0\0\1\xba": "an MPEG video",
        b"\0\0\1\xb3": "an MPEG video",
        b"FLV\1": "a Flash video",
        b"OggS": "an Ogg file",
        b"ID3": "an MP3 file",
        b"fLaC": "a FLAC file",
        b"PK\3\4": "a ZIP archive",
        b"PK\5\6": "a ZIP archive",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an Office document (DOC, XLS, PPT)",
        b"FLIF": "a FLIF image",
        b"\x1f\x8b": "a gzip file",
        b"7z\xbc\xaf\x27\x1c": "a 7z archive",
        b"Rar!\x1a\7": "a RAR archive",
        b"BZh": "a bzip2 file",
        b"\xfd7zXZ\0": "an xz file",
        b"\x28\xb5\x2f\xfd": "a zstd file",
        b"\x93NUMPY": "a NumPy array",
        b"\x7fELF": "a program",
        b"MZ": "a program",
    }
)
_INSIDE = (  # offset, bytes, name
    (128, b"DICM", "a DICOM image"),
    (257, b"ustar", "a tar archive"),
    (30, b"[Content_Types].xml", "an Office document (DOCX, XLSX, PPTX)"),
    (30, b"mimetypeapplication/vnd.oasis.", "an OpenDocument file"),
    (30, b"mimetypeapplication/epub", "an EPUB book"),
)
_TGA_END = b"TRUEVISION-XFILE.\0"
_RIFFS: Mapping[bytes, str] = MappingProxyType({b"AVI ": "an AVI video", b"WAVE": "a WAV file"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_HEIF_BRANDS = frozenset({b"mif1", b"msf1", b"mif2", b"miaf"})
_QUICKTIME_BOXES = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
_MOST_BRANDS = 64

_NO = "which is not supported"
_TEXT_LOOKED_AT = 1024
_TEXTS = (  # the first match names the text
    (re.compile(rb"(<!doctype html|<html|<head|<body|<script|<div|<p>)", re.IGNORECASE), "an HTML page"),
    (re.compile(rb"<(?=[^\0]*<svg[\s/>:]|svg[\s/>:])", re.IGNORECASE), "an SVG drawing"),
    (re.compile(rb"<[?A-Za-z!]"), "an XML document"),
    (re.compile(rb"data:[\w/+.-]*[;,]"), "a data: URI"),
    (re.compile(rb"https?://"), "an address"),
    (re.compile(rb"/\* XPM \*/"), "an XPM image"),
    (re.compile(rb"#define \w+_width"), "an XBM image"),
    (re.compile(rb"P[1-7fF]\s"), "a portable pixmap (PNM)"),
    (re.compile(rb"\{\\rtf"), "a rich text (RTF)"),
    (re.compile(rb"[\[{]"), "a JSON text"),
    (re.compile(rb"[\t\n\r\x20-\x7e]+\Z"), "a text"),
)


def format_of(data: bytes) -> str:
    """The format of an image, one of ``FORMATS``, from its content alone.

    Raises UnsupportedMediaType for anything else, with its name if that is known.
    """
    known = next((name for start, name in _STARTS.items() if data.startswith(start)), None)
    if known is not None:
        return known
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        return _format_of_box_file(data)
    raise _refusal(_name_of(data))


def _format_of_box_file(data: bytes) -> str:
    """The format of an ISO base media file: the brands that it lists tell images from videos."""
    end = min(int.from_bytes(data[:4], "big"), len(data), 16 + 4 * _MOST_BRANDS)
    major = data[8:12]
    brands = {major, *(data[place : place + 4] for place in range(16, end - 3, 4))}
    name, reason = {b"crx ": "a raw photo (CR3)", b"qt  ": "a QuickTime video"}.get(major, "an MP4 video"), _NO
    if brands & _AVIF_BRANDS:
        if HAS_AVIF:
            return "AVIF"
        name, reason = "an AVIF image", "which Pillow was built without here"
    elif brands & _HEIC_BRANDS:
        if HAS_HEIC:
            return "HEIC"
        name, reason = "a HEIC image", "which the server reads after pip install 'emo-serve[heic]'"
    elif brands & _HEIF_BRANDS:
        name = "a HEIF image that is coded neither as AVIF nor as HEIC"
    raise _refusal(name, reason)


def _name_of(data: bytes) -> str | None:
    """Name of a file format that is not accepted, None if unknown."""
    if data.startswith(b"RIFF"):
        return _RIFFS.get(data[8:12])
    if data.endswith(_TGA_END):
        return "a TGA image"
    if data[4:8] in _QUICKTIME_BOXES:
        return "a QuickTime video"
    names = [name for place, what, name in _INSIDE if data.startswith(what, place)]
    names += [name for start, name in _OTHER_STARTS.items() if data.startswith(start)]
    head = data[:_TEXT_LOOKED_AT].removeprefix(b"\xef\xbb\xbf").lstrip()
    names += [name for pattern, name in _TEXTS if pattern.match(head)]
    return names[0] if names else None


def _refusal(name: str | None, reason: str = _NO) -> UnsupportedMediaType:
    found = "not an image of an allowed format" if name is None else f"{name}, {reason}"
    return UnsupportedMediaType(f"The data is {found}; allowed are {', '.join(FORMATS)}.")
