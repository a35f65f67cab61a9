"""Class names written on a picture, in any script."""

import unicodedata
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from PIL import ImageDraw, ImageFont

Colour = tuple[int, int, int]

BUNDLED = Path(__file__).parent / "fonts" / "DejaVuSans.ttf"
"""Latin, Greek, Cyrillic and more. Other scripts need installed fonts."""
_INSTALLED = (
    *(
        Path("/usr/share/fonts", name)
        for name in (
            "opentype/noto/NotoSansCJK-Regular.ttc",  # Debian, Ubuntu
            "noto-cjk/NotoSansCJK-Regular.ttc",  # Arch, Alpine
            "noto/NotoSansCJK-Regular.ttc",
            "google-noto-cjk/NotoSansCJK-Regular.ttc",  # Fedora
            "google-noto-sans-cjk-fonts/NotoSansCJK-Regular.ttc",
            "truetype/wqy/wqy-zenhei.ttc",
            "truetype/wqy/wqy-microhei.ttc",
            "truetype/arphic/uming.ttc",
            "truetype/droid/DroidSansFallbackFull.ttf",
            "opentype/ipafont-gothic/ipag.ttf",
            "truetype/nanum/NanumGothic.ttf",
            "truetype/baekmuk/dotum.ttf",
            "truetype/unifont/unifont.ttf",
            "opentype/unifont/unifont.otf",
        )
    ),
    Path("/System/Library/Fonts/Hiragino Sans GB.ttc"),  # macOS
    Path("/System/Library/Fonts/AppleSDGothicNeo.ttc"),
    Path("/Library/Fonts/Arial Unicode.ttf"),
)
_NO_CHARACTER = "\uffff"  # missing in every font: its glyph is the placeholder for missing characters


class TextRenderer:
    """Text of one size in pixels; each character uses the first font that has it. Not thread-safe."""

    def __init__(self, size: int, installed: tuple[Path, ...] = _INSTALLED) -> None:
        self._size = size
        self._installed = installed
        self._fonts = [ImageFont.truetype(BUNDLED, size)]
        self._chosen: dict[str, ImageFont.FreeTypeFont] = {}

    def write(
        self, draw: ImageDraw.ImageDraw, text: str, corner: tuple[float, float], background: Colour, ink: str
    ) -> None:
        """Write text on a background above the corner, moved to be inside the picture."""
        parts, at = [], 0.0
        for font, part in self._parts(text):
            parts.append((at, font, part, draw.textbbox((at, 0), part, font, anchor="ls")))
            at += font.getlength(part)
        boxes = [box for *_, box in parts] or [(0, 0, 0, 0)]
        left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
        right, bottom = max(box[2] for box in boxes), max(box[3] for box in boxes)
        margin = max(2, round((bottom - top) / 5))
        width, height = right - left + 2 * margin, bottom - top + 2 * margin
        page_width, page_height = draw.im.size
        x = max(0, min(corner[0], page_width - width))
        y = corner[1] - height if corner[1] >= height else corner[1]
        y = max(0, min(y, page_height - height))
        draw.rectangle((x, y, x + width - 1, y + height - 1), fill=background)
        for at, font, part, _ in parts:
            draw.text((x + margin - left + at, y + margin - top), part, ink, font, anchor="ls")

    def _parts(self, text: str) -> Iterator[tuple[ImageFont.FreeTypeFont, str]]:
        """The text, split where the font changes."""
        shown = unicodedata.normalize("NFC", text)
        shown = "".join(character if character.isprintable() else " " for character in shown)
        for font, characters in groupby(shown, self._font_for):
            yield font, "".join(characters)

    def _font_for(self, character: str) -> ImageFont.FreeTypeFont:
        if character not in self._chosen:
            self._chosen[character] = self._found(character) or self._fonts[0]
        return self._chosen[character]

    def _found(self, character: str) -> ImageFont.FreeTypeFont | None:
        if has_glyph(self._fonts[0], character):
            return self._fonts[0]
        if len(self._fonts) == 1:  # loaded on demand: most names need none of them
            self._fonts += [ImageFont.truetype(path, self._size) for path in self._installed if path.exists()]
        return next((font for font in self._fonts[1:] if has_glyph(font, character)), None)


def has_glyph(font: ImageFont.FreeTypeFont, character: str) -> bool:
    """True if the font has a glyph for this character."""
    if character.isascii():
        return True
    missing, found = font.getmask(_NO_CHARACTER), font.getmask(character)
    return (missing.size, bytes(missing)) != (found.size, bytes(found))
