"""Answers as text for a person."""

from collections.abc import Iterator
from typing import Any


def lines_of(row: dict[str, Any]) -> str:
    """The lines about one picture: its name and size, then a line for each class, object or region."""
    if "error" in row:
        return f"{row['input']}\n  error: {row['error']}\n"
    size = row["image"]
    head = f"{row['input']}  {size['width']}x{size['height']}"
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
