"""The blocks of code in a page, and why some of them are not run.

A comment directly before a block exempts it: ``<!-- not run: REASON -->`` with one of ``REASONS``, or ``<!-- run by
tests/FILE.py -->`` with a test that reads the page itself.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
LANGUAGES = {"bash": "sh", "console": "sh", "sh": "sh", "shell": "sh", "python": "python"}
REASONS = (
    "needs Docker",
    "needs Kubernetes",
    "needs a GPU",
    "needs the network",
    "needs weights of others",
    "takes minutes",
)
COMMENT = re.compile(r"<!-- (not run|run by):? (.+) -->")


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code: ``language`` is sh or python, ``line`` that of its fence, from 1."""

    line: int
    language: str
    code: str
    exempt: tuple[str, str] | None
    """The kind of exemption, ``not run`` or ``run by``, and what follows it."""


def cells(notebook: Path) -> Block:
    """The cells of code of a notebook, which share their names, as one block."""
    found = [cell for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] for cell in found), f"{notebook.name} is kept without its outputs"
    return Block(1, "python", "\n".join("".join(cell["source"]) for cell in found) + "\n", None)


def pages() -> list[Path]:
    """All pages that people read."""
    return sorted([*ROOT.glob("*.md"), ROOT / "client" / "README.md", *(ROOT / "docs").rglob("*.md")])


def blocks(text: str) -> Iterator[Block]:
    """The blocks of shell and Python in a page, in order."""
    before = ""
    for token in MarkdownIt().parse(text):
        if token.type == "fence" and token.info in LANGUAGES:
            assert token.map
            comment = COMMENT.fullmatch(before)
            exempt = (comment[1], comment[2]) if comment else None
            yield Block(token.map[0] + 1, LANGUAGES[token.info], token.content, exempt)
        before = token.content.strip() if token.type == "html_block" else ""
