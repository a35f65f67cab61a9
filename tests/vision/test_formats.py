"""Only the decoders of the documented formats can be reached, though Pillow has many more."""

import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from emo_serve.errors import UnsupportedMediaType
from emo_serve.vision.image import ImageLimits, decode
from emo_serve.vision.sniffing import FORMATS
from tests.vision.files import encoded, photo

Image.init()
UNTRIED = {
    "MPO",  # a JPEG with more behind it, of which the first picture is read as any JPEG
    "IM",  # to write it is deprecated
    "HEIF",  # another name of HEIC, of its package
}


def others() -> Iterator[tuple[str, bytes]]:
    """Every other format that Pillow can write here, with a file of it."""
    for name in sorted(set(Image.SAVE) - set(FORMATS) - UNTRIED):
        buffer = io.BytesIO()
        try:
            photo().save(buffer, name)
        except (OSError, ValueError, AttributeError, KeyError, TypeError, NotImplementedError):
            continue  # it needs an extra or another mode
        if buffer.getvalue():
            yield name, buffer.getvalue()


OTHERS = dict(others())


def test_there_are_other_formats_to_be_refused() -> None:
    assert {"ICO", "JPEG2000", "PCX", "PPM", "TGA"} <= OTHERS.keys()


@pytest.mark.parametrize("name", OTHERS)
def test_a_format_that_is_not_documented_never_reaches_a_decoder(name: str) -> None:
    with pytest.raises(UnsupportedMediaType, match="allowed are JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF, HEIC"):
        decode(OTHERS[name], ImageLimits())


def test_pillows_own_choice_of_a_decoder_is_never_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Image, "open")
    for name in FORMATS:
        decode(encoded(photo(), name), ImageLimits())


@pytest.mark.parametrize("place", ["README.md", "docs/api.md", "app/emo_serve/api/routes/openapi.py"])
def test_the_formats_are_named_where_users_look(place: str) -> None:
    text = " ".join((Path(__file__).parents[2] / place).read_text(encoding="utf-8").split())
    assert re.search(r"JPEG, PNG, WebP, (\" \")?GIF, BMP, TIFF, AVIF,? and,?[^.]* HEIC", text)
