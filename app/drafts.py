"""A folder that is written whole or not at all."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path


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
