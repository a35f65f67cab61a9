"""Class names as exporters write them into the metadata of a file."""

import ast
import json
import re
from collections.abc import Mapping, Sequence

from emo_serve.errors import StartupError

_KEYS = ("names", "id2label", "label2id", "class_names", "class_labels", "labels", "classes")
_LOOSE = frozenset({"labels", "classes"})
"""Of these, a single word may be anything."""
_NUMBERED = re.compile(r"(\d+)\s*[:,;\t]\s*(\S.*)")
_BRACKETS = {"[": "]", "(": ")", "{": "}"}
_SHOWN = 60  # characters of what cannot be read


def names_in_metadata(metadata: Mapping[str, str], *, from_one: bool) -> tuple[str, tuple[str, ...]] | None:
    """The key of the names, and these in the order of their numbers; None where there are none.

    ``from_one``: numbers may begin with 1. Raises StartupError, which names ``--labels``, where it is not sure which
    name belongs to which number.
    """
    for key in _KEYS:
        text = metadata.get(key, "").strip()
        try:
            names = _names(text, from_one=from_one)
        except ValueError as error:
            shown = text[:_SHOWN] + ("..." if len(text) > _SHOWN else "")
            msg = f"the file's class names ({key}: {shown}) are not understood: {error}; give them with --labels"
            raise StartupError(msg) from error
        if len(names) > (key in _LOOSE):
            return key, names
    return None


def strip_numbers(lines: Sequence[str], *, from_one: bool = True) -> tuple[str, ...] | None:
    """The names of ``0: cat``, ``1: dog``, ...; None unless all are numbered so, without a gap and in order."""
    found = [match.groups() for line in lines if (match := _NUMBERED.fullmatch(line))]
    numbers = [int(number) for number, _ in found]
    starts = (0, 1) if from_one else (0,)
    is_counted = any(numbers == [*range(start, start + len(lines))] for start in starts)
    return tuple(name for _, name in found) if is_counted else None


def _names(text: str, *, from_one: bool) -> tuple[str, ...]:
    """The names in the text, an empty tuple if there are none; raises ValueError for a format that is not known."""
    if not text or text.isdigit() or text.lower() in {"none", "null"}:  # nothing, or a number of classes
        return ()
    match _parsed(text):
        case dict() as names:
            return _ordered(names, from_one=from_one)
        case list() | tuple() as names:
            return tuple(map(_name, names))
        case str() as name:
            text = name
        case None:
            pass
        case _:
            msg = "it is no list and no table of numbers and names"
            raise ValueError(msg)
    return _split(text, from_one=from_one)


def _parsed(text: str) -> object:
    """A literal of Python or JSON; None where it is neither."""
    for parse in (ast.literal_eval, json.loads):
        try:
            return parse(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    return None


def _name(value: object) -> str:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value).strip()
    msg = f"{str(value)[:_SHOWN]!r} is no name"
    raise ValueError(msg)


def _ordered(names: Mapping[object, object], *, from_one: bool) -> tuple[str, ...]:
    """The names of ``{0: 'cat', 1: 'dog'}`` or of ``{'cat': 0, 'dog': 1}``."""
    if names and all(isinstance(value, int) for value in names.values()):
        pairs = [(str(number), name) for name, number in names.items()]
    else:
        pairs = [(str(number), name) for number, name in names.items()]
    by_number = {int(number): _name(name) for number, name in pairs if number.isdecimal()}
    if len(by_number) < len(names):
        msg = "they are not numbered, or some have the same number"
        raise ValueError(msg)
    first = int(from_one and 0 not in by_number)
    missing = [number for number in range(first, first + len(names)) if number not in by_number]
    if missing:
        msg = f"number {missing[0]} has none, though {max(by_number)} has one"
        raise ValueError(msg)
    return tuple(by_number[number] for number in sorted(by_number))


def _split(text: str, *, from_one: bool) -> tuple[str, ...]:
    """The names of ``cat,dog``, of a line each, of ``0: cat, 1: dog``, or of ``[cat, dog]``, as YAML has it."""
    end = _BRACKETS.get(text[0])
    if end is not None:
        if text[-1] != end or any(mark in text[1:-1] for mark in "[](){}\"'"):
            msg = "it is neither Python's nor JSON's"
            raise ValueError(msg)
        text = text[1:-1].strip()
    separator = next((mark for mark in ("\n", ";", ",") if mark in text), None)
    parts = [part.strip() for part in text.split(separator)] if separator else [text]
    while parts and not parts[-1]:
        parts.pop()
    if (names := strip_numbers(parts, from_one=from_one)) is not None:
        return names
    if end == "}" or any(_NUMBERED.fullmatch(part) for part in parts):
        msg = "its numbers do not count from 0"
        raise ValueError(msg)
    return tuple(parts)
