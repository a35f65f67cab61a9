"""What is no image of an allowed format is refused by its name, with the list of what is allowed."""

import io

import pytest
from PIL import Image

from emo_serve.errors import UnsupportedMediaType
from emo_serve.vision import sniffing
from emo_serve.vision.image import ImageLimits, decode
from emo_serve.vision.sniffing import FORMATS, format_of
from tests.vision.files import box, encoded, jpeg_segment, photo, png_chunk, with_chunks

NAMED = {
    "JPEG XL": b"\xff\x0a\xfa\x1f" + bytes(20),
    "JPEG XL image": box(b"JXL ", b"\r\n\x87\n") + box(b"ftyp", b"jxl \0\0\0\0jxl "),
    "JPEG 2000": encoded(photo(), "JPEG2000"),
    "JPEG 2000 image": b"\xff\x4f\xff\x51" + bytes(30),
    "JPEG-LS": b"\xff\xd8\xff\xf7\0\x0b\x08\0\x02\0\x03\x01\x01\x11\0" + bytes(20),
    "JPEG XR": b"II\xbc\x01" + bytes(30),
    "BigTIFF": b"II+\0\x08\0\0\0" + bytes(16),
    "PDF": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "SVG drawing": b"\xef\xbb\xbf  <?xml version='1.0'?>\n<!-- by hand -->\n<!DOCTYPE svg PUBLIC ''>\n<svg width='1'/>",
    "HTML": b"\n<!DOCTYPE html><html><body><svg></svg></body></html>",
    "an SVG drawing": b"<!-- by hand --><!DOCTYPE svg>\n<svg/>",
    "a rich text": b"{\\rtf1\\ansi hello}",
    "XML": b"<?xml version='1.0'?><rss/>",
    "JSON": b'{"image": "abc"}',
    "data: URI": b"data:image/png;base64,iVBORw0KGgo=",
    "an address": b"https://example.com/cat.jpg",
    "a text": b"hello, this is no image",
    "Photoshop": b"8BPS\0\1" + bytes(20),
    "GIMP": b"gimp xcf file\0",
    "icon": encoded(photo(), "ICO"),
    "ICNS": b"icns\0\0\0\x08",
    "cursor": b"\0\0\2\0\1\0",
    "TGA": encoded(photo(), "TGA"),
    "PCX": encoded(photo(), "PCX"),
    "PNM": encoded(photo(), "PPM"),
    "portable pixmap": b"P7\nWIDTH 1\n",
    "QOI": b"qoif" + bytes(10),
    "DDS": encoded(photo(), "DDS"),
    "OpenEXR": b"\x76\x2f\x31\x01" + bytes(20),
    "Radiance": b"#?RADIANCE\n",
    "FITS": b"SIMPLE  =                    T",
    "DICOM": bytes(128) + b"DICM",
    r"raw photo \(CR3\)": box(b"ftyp", b"crx \0\0\0\1crx isom"),
    r"raw photo \(RAF\)": b"FUJIFILMCCD-RAW 0201",
    r"raw photo \(ORF\)": b"IIRO\x08\0\0\0",
    r"raw photo \(RW2\)": b"IIU\0\x08\0\0\0",
    "MP4 video": box(b"ftyp", b"isom\0\0\2\0isomiso2avc1mp41"),
    "QuickTime": box(b"ftyp", b"qt  \0\0\2\0qt  "),
    "QuickTime video": box(b"moov") + box(b"mdat"),
    "WebM": b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01",
    "AVI": b"RIFF\x24\0\0\0AVI LIST",
    "WAV": b"RIFF\x24\0\0\0WAVEfmt ",
    "MPEG": b"\0\0\1\xba\x44",
    "HEIF image that is coded neither": box(b"ftyp", b"mif1\0\0\0\0mif1jpeg"),
    "document .DOCX": b"PK\x03\x04\x14\0\6\0" + bytes(22) + b"[Content_Types].xml",
    "document .DOC,": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(50),
    "an OpenDocument file": b"PK\x03\x04\x14\0\0\x08" + bytes(22) + b"mimetypeapplication/vnd.oasis.opendocument.text",
    "FLIF": b"FLIF44",
    "ZIP": b"PK\x03\x04\x14\0",
    "gzip": b"\x1f\x8b\x08\0",
    "tar": b"cat.jpg".ljust(257, b"\0") + b"ustar\x0000",
    "NumPy": b"\x93NUMPY\x01\0",
    "program": b"\x7fELF\x02\x01",
    r"\(CgBI\)": with_chunks(encoded(photo(), "PNG"))[:8] + png_chunk(b"CgBI", bytes(4)) + encoded(photo(), "PNG")[8:],
    "arithmetic coding": b"\xff\xd8" + jpeg_segment(0xC9, b"\x08\0\x02\0\x02\x01\x01\x11\0"),
    "holds a JPEG or PNG": encoded(photo(), "BMP")[:30] + b"\5\0\0\0" + encoded(photo(), "BMP")[34:],
    "Unsupported BMP pixel depth": encoded(photo(), "BMP")[:28] + b"\x40\0" + encoded(photo(), "BMP")[30:],
}


@pytest.mark.parametrize("name", NAMED)
def test_a_file_of_another_kind_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(UnsupportedMediaType, match=name) as refusal:
        decode(NAMED[name], ImageLimits())
    detail = str(refusal.value)
    assert "not supported" in detail
    assert detail.endswith(".")


@pytest.mark.parametrize("data", [b"x\xfe", bytes(4096), b"\xff" * 100, b"\0\0\0\x18ftyp"])
def test_what_nobody_knows_is_refused_with_the_list(data: bytes) -> None:
    with pytest.raises(UnsupportedMediaType, match="allowed are JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF, HEIC"):
        decode(data, ImageLimits())


@pytest.mark.parametrize("name", FORMATS)
def test_an_allowed_format_is_told_by_its_content(name: str) -> None:
    assert format_of(encoded(photo(), name)) == name


@pytest.mark.parametrize(
    ("brands", "name"),
    [
        (b"avif\0\0\0\0avif", "AVIF"),
        (b"avis\0\0\0\0avis", "AVIF"),
        (b"mif1\0\0\0\0mif1avifmiaf", "AVIF"),
        (b"heic\0\0\0\0mif1heic", "HEIC"),
        (b"heix\0\0\0\0mif1heix", "HEIC"),
        (b"mif1\0\0\0\0mif1miafheic", "HEIC"),
        (b"msf1\0\0\0\0hevcheic", "HEIC"),
    ],
)
def test_the_brands_of_a_heif_file_tell_how_it_is_coded(brands: bytes, name: str) -> None:
    assert format_of(box(b"ftyp", brands)) == name


def test_a_heic_without_its_package_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sniffing, "HAS_HEIC", False)
    monkeypatch.setattr(sniffing, "FORMATS", tuple(name for name in FORMATS if name != "HEIC"))
    with pytest.raises(UnsupportedMediaType) as refusal:
        decode(encoded(photo(), "HEIC"), ImageLimits())
    assert str(refusal.value) == (
        "The data is a HEIC image, which the server reads after pip install 'emo-serve[heic]'; "
        "allowed are JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF."
    )


def test_pillows_list_of_formats_holds_nothing_that_is_taken_for_an_allowed_one() -> None:
    Image.init()
    for name in ("ICO", "TGA", "PCX", "PPM", "SGI", "DDS", "JPEG2000", "PDF", "EPS", "XBM"):
        buffer = io.BytesIO()
        photo().convert("1" if name == "XBM" else "RGB").save(buffer, name)
        with pytest.raises(UnsupportedMediaType, match=r"The data is an? "):
            decode(buffer.getvalue(), ImageLimits())
