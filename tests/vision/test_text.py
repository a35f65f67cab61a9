import unicodedata
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from emo_serve.vision import draw
from emo_serve.vision.results import Detections
from emo_serve.vision.text import BUNDLED, TextRenderer, has_glyph

LETTERS = {
    "Latin": "äöüßéèêñçåøæœŁłŽžőığşțž",
    "Greek": "αβγδεζηθικλμνξοπρστυφχψωάέήίόύώΩ",
    "Cyrillic": "абвгдеёжзийклмнопрстуфхцчшщъыьэюяіїєґЁЖ",
}


def drawn(name: str) -> bytes:
    """The picture of a box that is called so."""
    found = Detections(np.array([[0, 60, 90, 99]], np.float32), np.array([0]), np.array([0.9], np.float32))
    return draw.draw_detections(PillowImage.new("RGB", (400, 100)), found, (name,)).tobytes()


def written(text: str, installed: tuple[Path, ...] = ()) -> NDArray[np.uint8]:
    page = PillowImage.new("L", (300, 60))
    TextRenderer(20, installed).write(ImageDraw.Draw(page), text, (0, 50), 0, "white")  # type: ignore[arg-type]  # grey
    return np.asarray(page)


@pytest.fixture
def chinese(tmp_path: Path) -> Path:
    """A font that has two characters, as a triangle and a square."""
    pens = {".notdef": TTGlyphPen(None), "triangle": TTGlyphPen(None), "square": TTGlyphPen(None)}
    shapes = {"triangle": [(0, 0), (500, 900), (900, 0)], "square": [(0, 0), (0, 900), (900, 900), (900, 0)]}
    for name, corners in shapes.items():
        pens[name].moveTo(corners[0])
        for corner in corners[1:]:
            pens[name].lineTo(corner)
        pens[name].closePath()
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder([*pens])
    font.setupCharacterMap({ord("猫"): "triangle", ord("犬"): "square"})
    font.setupGlyf({name: pen.glyph() for name, pen in pens.items()})
    font.setupHorizontalMetrics(dict.fromkeys(pens, (1000, 0)))
    font.setupHorizontalHeader(ascent=900, descent=-100)
    font.setupNameTable({"familyName": "Two"})
    font.setupOS2()
    font.setupPost()
    path = tmp_path / "two.ttf"
    font.save(path)
    return path


@pytest.mark.parametrize("script", LETTERS)
def test_letters_of_three_alphabets_are_drawn_and_not_boxes_in_their_place(script: str) -> None:
    pictures = {letter: drawn(letter) for letter in LETTERS[script]}
    assert drawn("\uffff") not in pictures.values()
    assert len({*pictures.values()}) == len({*LETTERS[script]})  # each its own


@pytest.mark.parametrize("name", ["Käse", "ñandú", "ελληνικά", "ёж", "Việt"])
def test_a_name_is_drawn_the_same_however_its_letters_are_composed(name: str) -> None:
    assert drawn(unicodedata.normalize("NFD", name)) == drawn(unicodedata.normalize("NFC", name))


def test_what_the_bundled_font_lacks_is_taken_from_one_that_is_installed(chinese: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "none.ttf"
    assert (written("猫") == written("犬")).all()  # the box of what is missing
    assert (written("猫", (nowhere, chinese)) != written("犬", (nowhere, chinese))).any()
    # the rest stays in the bundled font
    assert (written("кот 猫", (chinese,)) != written("\uffff\uffff\uffff 猫", (chinese,))).any()
    assert not has_glyph(ImageFont.truetype(chinese, 20), "к")


def test_all_parts_of_a_name_stand_inside_its_background(chinese: Path) -> None:
    page = PillowImage.new("RGB", (300, 60))
    TextRenderer(20, (chinese,)).write(ImageDraw.Draw(page), "猫 кот 犬 jÄ", (0, 50), (0, 0, 255), "white")
    pixels = np.asarray(page)
    rows, columns = np.nonzero(pixels[:, :, 2] > 0)
    white = pixels[:, :, 0] > 128
    inside = white[rows.min() + 1 : rows.max(), columns.min() + 1 : columns.max()]
    assert white.sum() == inside.sum() > 100


def test_the_bundled_font_comes_with_its_licence() -> None:
    assert "Bitstream" in (BUNDLED.parent / "LICENSE").read_text()
