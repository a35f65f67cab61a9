"""Class names: from the user's file, from the network's metadata, or made up."""

import codecs
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from emo_serve.errors import StartupError
from emo_serve.onnx_import.coco import COCO
from emo_serve.onnx_import.graph import Network
from emo_serve.onnx_import.metadata_labels import names_in_metadata, strip_numbers
from emo_serve.onnx_import.model_spec import Finding
from emo_serve.onnx_import.options import Options

_MAX_BYTES = 4 * 1024**2
_BACKGROUND = frozenset({"background", "bg", "no object", "no-object", "no_object"})
_MISSING = frozenset({"n/a", "???"})
"""Placeholders for unused numbers in lists with COCO's original numbering."""


@dataclass(frozen=True, slots=True)
class Labels:
    """Class names, if known; a background, which is not a class, is not among them."""

    names: tuple[str, ...] | None
    """Names by score or class number; some may be placeholders."""
    source: str
    advice: str = ""
    """Advice for an error if their number differs from that of the scores."""
    background: Literal["first", "last"] | None = None
    """Former position of the background among the names, if it was there."""
    may_be_coco: bool = False
    """True for a detector without names."""

    @property
    def count(self) -> int | None:
        """The number of names, placeholders included; None if unknown."""
        return None if self.names is None else len(self.names)

    @property
    def served(self) -> tuple[int, ...] | None:
        """Indices of the names that are no placeholders; None if all are."""
        places = tuple(place for place, name in enumerate(self.names or ()) if not is_missing(name))
        return None if len(places) == len(self.names or ()) else places

    def named(self, num_classes: int) -> tuple[tuple[str, ...], Finding]:
        """The names of all served classes, made up if necessary, and a finding."""
        names, source = self.names, self.source
        if names is None and self.may_be_coco and num_classes == len(COCO):
            names, source = COCO, "COCO's (assumed: there are as many)"
        names = names or tuple(f"class {number}" for number in range(num_classes))
        served = tuple(name for name in names if not is_missing(name))
        if len(served) < len(names):
            source += f", without {len(names) - len(served)} that stand for nothing"
        shown = ", ".join(served[:3]) + (", ..." if len(served) > 3 else "")
        return served, Finding("labels", f"{len(served)}, {source}: {shown}", "--labels")


def is_missing(name: str) -> bool:
    """True if the name is a placeholder for a missing class."""
    return name.lower() in _MISSING


def labels_of(network: Network, options: Options) -> Labels:
    """The names given by the user, else those in the file; raises StartupError if unreadable or not unique."""
    if options.labels is not None:
        names, was_numbered = _read(options.labels)
        source = "of --labels" + ", without the numbers before them" * was_numbered
        advice = f": {options.labels} needs one class name a line, {len(names)} found"
    elif options.label_names is not None:
        names, source, advice = options.label_names, "of config.json (id2label)", ": give others with --labels"
    else:
        held = names_in_metadata(network.metadata, from_one=options.task == "classify")
        if held is None:
            return Labels(None, "made up here", may_be_coco=options.task == "detect")
        key, names = held
        source, advice = f"that the file holds ({key})", ": those that the file holds are wrong, give --labels"
    _check(names, options.labels)
    if options.task == "detect" and options.background != "none" and len(names) > 1:
        if _is_background(names[0]):
            return Labels(names[1:], f"{source} after {names[0]}", advice, "first")
        if _is_background(names[-1]):
            return Labels(names[:-1], f"{source} before {names[-1]}", advice, "last")
    return Labels(names, source, advice)


def _read(path: Path) -> tuple[tuple[str, ...], bool]:
    """Class names, one a line, and whether numbers before them were removed: ``0: cat``, ``1: dog``, ..."""
    try:
        if not path.is_file():
            msg = f"{path}: {'is no regular file' if path.exists() else 'cannot be read: No such file or directory'}"
            raise StartupError(msg)
        content = path.read_bytes() if path.stat().st_size <= _MAX_BYTES else b""
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise StartupError(msg) from error
    lines = [line.strip() for line in _decoded(content, path).replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        msg = f"{path}: holds no labels of at most {_MAX_BYTES} bytes; write one class name a line"
        raise StartupError(msg)
    names = strip_numbers(lines)
    return (tuple(lines), False) if names is None else (names, True)


def _decoded(content: bytes, path: Path) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        command = f"iconv -f LATIN1 -t UTF-8 {shlex.quote(str(path))} > labels-utf8.txt"
        msg = f"{path}: line {line} is not UTF-8; write the file anew, such as by `{command}`, and give that"
        raise StartupError(msg) from error


def _check(names: Sequence[str], path: Path | None) -> None:
    """Raise StartupError, which says where and how to fix it, unless each name is unique or a placeholder."""
    where = f"{path}: line" if path else "the file holds class names, of which number"
    mend = "" if path else "; give others with --labels"
    first = int(path is not None)
    places: dict[str, int] = {}
    for number, name in enumerate(names, start=first):
        if not name or not name.isprintable():
            fault = "unprintable" if name else "empty"
            msg = f"{where} {number} is {fault}; where there is no class, write N/A{mend}"
            raise StartupError(msg)
        if name in places and not is_missing(name):
            msg = (
                f"{where} {places[name]} and {number} are both {name!r}; class names must differ"
                f"{mend or ', so change one of them'}"
            )
            raise StartupError(msg)
        places[name] = number
    if all(map(is_missing, names)):
        msg = f"{path or 'the file'}: holds no class name{mend}"
        raise StartupError(msg)


def _is_background(name: str) -> bool:
    return name.strip("_ ").lower() in _BACKGROUND
