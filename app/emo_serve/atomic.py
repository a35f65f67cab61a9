"""Files and folders that are written whole or not at all."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write a file in UTF-8 in one step, whoever reads or writes it now; after an OSError nothing has changed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


@contextlib.contextmanager
def draft_of(target: Path) -> Iterator[Path]:
    """Give a hidden folder beside ``target``, which becomes it at the end; after an error nothing is left."""
    draft = target.with_name(f".{target.name}.partial")
    is_first = not target.parent.exists()
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        if is_first and not any(target.parent.iterdir()):
            target.parent.rmdir()
