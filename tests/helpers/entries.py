"""Counts the functions of other files that are entered on the path of a request."""

import dis
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CodeType, FrameType

import emo_serve

_ROOT = f"{Path(emo_serve.__file__).parent}/"


@cache
def _start(code: CodeType) -> int:
    """Where a call of the function begins; a coroutine that goes on begins further on."""
    return next(step.offset for step in dis.get_instructions(code) if step.opname == "RESUME" and step.arg == 0)


class Entries:
    """Calls of functions of the package from another of its files, in all threads; noted while it ``counts``."""

    def __init__(self) -> None:
        self.counts = False
        self.calls: list[tuple[str, str]] = []
        """(file, name) of each function that was called."""

    @property
    def functions(self) -> set[tuple[str, str]]:
        """Each once, without those of the language (``__init__``, ``__enter__`` …)."""
        return {(file, name) for file, name in self.calls if not name.rpartition(".")[2].startswith("__")}

    def note(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if not self.counts or event != "call" or not code.co_filename.startswith(_ROOT) or frame.f_lasti > _start(code):
            return
        caller = frame.f_back
        while caller is not None and not caller.f_code.co_filename.startswith(_ROOT):
            caller = caller.f_back
        if caller is None or caller.f_code.co_filename != code.co_filename:
            self.calls.append((code.co_filename.removeprefix(_ROOT), code.co_qualname))


@contextmanager
def counting() -> Iterator[Entries]:
    """Count in this thread and in those that start in the block."""
    entries = Entries()
    threading.setprofile(entries.note)
    sys.setprofile(entries.note)
    try:
        yield entries
    finally:
        entries.counts = False
        sys.setprofile(None)
        threading.setprofile(None)
