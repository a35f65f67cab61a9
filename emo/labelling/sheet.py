"""A contact sheet of labelled photos, for inspection before training."""

import random
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from emo.data.pictures import open_upright
from emo.labelling.document import Labelled
from emo.labelling.labels import TRUE, Label
from emo_serve.vision.draw import colour_of

TILE = 320
"""Side of a photo's tile in pixels."""
_COLUMNS = 10
_MARGIN = 4
_FONT_SIZE = 12
_GREY = (150, 150, 150)


def write_sheet(labelled: Sequence[Labelled], names: Sequence[str], count: int, path: Path) -> None:
    """Draw ``count`` photos, in a random but reproducible selection.

    Boxes of models have the colour of their class, true ones a white border; regions to ignore are hatched.
    """
    chosen = sorted(random.Random(0).sample(range(len(labelled)), min(count, len(labelled))))
    columns = min(_COLUMNS, len(chosen))
    rows = -(-len(chosen) // columns)
    page = Image.new("RGB", (columns * TILE, rows * TILE), "black")
    for place, number in enumerate(chosen):
        row, column = divmod(place, columns)
        page.paste(draw_labelled(labelled[number], names), (column * TILE, row * TILE))
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path, quality=90)


def draw_labelled(one: Labelled, names: Sequence[str]) -> Image.Image:
    """The photo, (TILE, TILE) pixels with a margin, with its labels; better ones are on top."""
    photo = open_upright(one.photo.path)
    scale = (TILE - 2 * _MARGIN) / max(photo.size)
    shown = photo.resize((max(1, round(photo.width * scale)), max(1, round(photo.height * scale))))
    tile = Image.new("RGB", (TILE, TILE), "black")
    tile.paste(shown, (_MARGIN, _MARGIN))
    draw = ImageDraw.Draw(tile)
    for label in reversed(one.labels):
        x1, y1, x2, y2 = (float(value) * scale + _MARGIN for value in label.box_xyxy)
        box = (x1, y1, max(x1, x2 - 1), max(y1, y2 - 1))
        colour = _GREY if label.is_ignored else colour_of(names.index(label.name))
        if label.is_ignored:
            _hatch(tile, box)
        if label.source == TRUE:
            draw.rectangle((box[0] - 2, box[1] - 2, box[2] + 2, box[3] + 2), outline="white", width=2)
        draw.rectangle(box, outline=colour, width=1 if label.is_ignored else 2)
        _write(draw, label, box, colour)
    return tile


def _hatch(tile: Image.Image, box: tuple[float, float, float, float]) -> None:
    left, top, right, bottom = (round(value) for value in box)
    mask = Image.new("L", (right - left + 1, bottom - top + 1))
    draw = ImageDraw.Draw(mask)
    for x in range(-mask.height, mask.width, 8):
        draw.line((x, mask.height, x + mask.height, 0), fill=160)
    tile.paste(_GREY, (left, top), mask)


def _write(
    draw: ImageDraw.ImageDraw, label: Label, box: tuple[float, float, float, float], colour: tuple[int, int, int]
) -> None:
    said = TRUE if label.source == TRUE else f"{label.score:.0%}"
    text = f"{label.name}{'?' * label.is_ignored} {said}"
    font = ImageFont.load_default(size=_FONT_SIZE)
    left, top, right, bottom = draw.textbbox((0, 0), text, font)
    x = max(0.0, min(box[0], TILE - (right - left) - 2))
    y = max(0.0, box[1] - (bottom - top) - 2)
    draw.rectangle((x, y, x + right - left + 2, y + bottom - top + 2), fill=colour)
    dark = sum(colour) < 380
    draw.text((x + 1 - left, y + 1 - top), text, "white" if dark else "black", font)
