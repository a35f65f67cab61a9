"""The site's source: pages and notebooks of the repository, and files that they link to, at the paths they have here.

Pages are written for the repository. In a copy of the same shape their links hold as they are.
"""

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ("*.md", "client/README.md", "client/typescript/README.md", "docs/**/*.md", "examples/*/README.md")
NOTEBOOKS = "examples/*.ipynb"
LINK = re.compile(r"\]\(([^)#:\s]+)")


def mirrored() -> Iterator[Path]:
    """Every file of the site, relative to the repository; some more than once."""
    for page in (page for pattern in PAGES for page in ROOT.glob(pattern)):
        yield page.relative_to(ROOT)
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            linked = (page.parent / target).resolve()
            if linked.is_file() and linked.is_relative_to(ROOT):
                yield linked.relative_to(ROOT)


def as_page(notebook: Path) -> str:
    """The notebook as a page, its code as blocks."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    texts = (("".join(cell["source"]), cell["cell_type"]) for cell in cells)
    return "\n\n".join(f"```python\n{text}\n```" if kind == "code" else text for text, kind in texts)


def main(source: Path) -> None:
    """Write the folder ``source`` anew."""
    shutil.rmtree(source, ignore_errors=True)
    for path in sorted(set(mirrored())):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, source / path)
    for notebook in ROOT.glob(NOTEBOOKS):
        page = source / notebook.relative_to(ROOT).with_suffix(".md")
        page.write_text(as_page(notebook), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
