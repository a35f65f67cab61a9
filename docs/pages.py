"""The site's source: the pages of the repository and the files that they link to, at the paths that they have here.

Pages are written for the repository. In a copy of the same shape their links hold as they are.
"""

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ("*.md", "client/README.md", "docs/**/*.md")
LINK = re.compile(r"\]\(([^)#:\s]+)")


def mirrored() -> Iterator[Path]:
    """Every file of the site, relative to the repository; some more than once."""
    for page in (page for pattern in PAGES for page in ROOT.glob(pattern)):
        yield page.relative_to(ROOT)
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            linked = (page.parent / target).resolve()
            if linked.is_file() and linked.is_relative_to(ROOT):
                yield linked.relative_to(ROOT)


def main(source: Path) -> None:
    """Write the folder ``source`` anew."""
    shutil.rmtree(source, ignore_errors=True)
    for path in sorted(set(mirrored())):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, source / path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
