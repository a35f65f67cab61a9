"""Answers as text for a person."""

from collections.abc import Iterator
from typing import Any


def lines_of(row: dict[str, Any]) -> str:
    """The lines about one picture: its name and size, then a line for each class, object or region."""
    name = _on_a_line(row["input"])
    if "error" in row:
        return f"{name}\n  error: {row['error']}\n"
    size = row["image"]
    head = f"{name}  {size['width']}x{size['height']}"
    if groups := row.get("groups"):
        head += f"  {groups[0]['name']} {groups[0]['score']:.0%}"
    body = "".join(f"  {line}\n" for line in _answers(row)) or "  nothing found\n"
    return f"{head}\n{body}"


def _answers(row: dict[str, Any]) -> Iterator[str]:
    for entry in row.get("classifications", ()):
        yield f"{entry['score']:6.1%}  {entry['name']}"
    for entry in row.get("detections", ()):
        left, top, right, bottom = (round(value) for value in entry["box"])
        yield f"{entry['score']:6.1%}  {entry['name']}  ({left}, {top}) to ({right}, {bottom})"
    for entry in row.get("classes", ()):
        yield f"{entry['share']:6.1%}  {entry['name']}"


def _on_a_line(name: str) -> str:
    """The name with escapes for line ends and whatever else a terminal would obey instead of show."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name)
