"""Atomic writes of files and folders: whole or not at all."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


def atomic_write(path: Path, content: str | bytes) -> None:
    """Write a file in one step, text in UTF-8, safe with concurrent readers and writers; unchanged after an OSError.

    A link is replaced, and what it points to stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a hidden folder beside ``target``, which is renamed to it at the end, or removed after an error."""
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
