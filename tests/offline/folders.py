"""Folders of pictures that the toy models know."""

from pathlib import Path

from tests.support import encode_image, plain

COLOURS = ("red", "green", "blue")


def write_pictures(folder: Path, count: int, broken: frozenset[int] = frozenset()) -> list[Path]:
    """So many plain pictures, red, green, blue and so on; those of ``broken`` are no pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:04d}.png" for number in range(count)]
    encoded = [encode_image(plain(colour)) for colour in COLOURS]
    for number, path in enumerate(paths):
        path.write_bytes(b"broken" if number in broken else encoded[number % len(COLOURS)])
    return paths


def content(folder: Path) -> dict[str, bytes]:
    """The output files of a batch job."""
    return {path.name: path.read_bytes() for path in folder.glob("part-*")}
