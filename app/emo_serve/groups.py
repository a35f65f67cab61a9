"""Broad groups of classes: a CSV table of names -> the group of each class of a model."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from emo_serve.errors import InvalidManifest
from emo_serve.files import read_regular

_MAX_BYTES = 4 * 1024 * 1024
_MAX_NAMED = 5  # classes without a group that an error names


def read_groups(path: Path, labels: Sequence[str]) -> tuple[str, ...]:
    """The group of each of the ``labels``, in their order, from a table as ``read_group_table`` reads it.

    The table may contain more classes. Raises InvalidManifest if it is unreadable or lacks one of the labels.
    """
    table = read_group_table(path)
    unknown = [label for label in labels if label not in table]
    if unknown:
        first = ", ".join(map(repr, unknown[:_MAX_NAMED])) + (", …" if len(unknown) > _MAX_NAMED else "")
        msg = f"{path}: has no group for {len(unknown)} of the {len(labels)} classes: {first}"
        raise InvalidManifest(msg)
    return tuple(table[label] for label in labels)


def read_group_table(path: Path) -> dict[str, str]:
    """Class name -> group, from the columns ``name`` and ``group`` of a CSV file; other columns are ignored.

    Raises InvalidManifest, which names the line, if it is unreadable or lists a class twice.
    """
    table: dict[str, str] = {}
    try:
        text = read_regular(path, _MAX_BYTES).decode("utf-8-sig")  # spreadsheets write a byte order mark
        rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        missing = {"name", "group"} - set(rows.fieldnames or ())
        if missing:
            msg = f"{path}: has no column {' or '.join(sorted(missing))}; the first line must name both"
            raise InvalidManifest(msg)
        for row in rows:
            name, group = (row["name"] or "").strip(), " ".join((row["group"] or "").split())
            if not name or not group or not (name + group).isprintable():
                msg = f"{path}: line {rows.line_num} lacks a name or a group, or they are unprintable"
                raise InvalidManifest(msg)
            if name in table:
                msg = f"{path}: line {rows.line_num} is the second of {name!r}; a class has one group"
                raise InvalidManifest(msg)
            table[name] = group
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise InvalidManifest(msg) from error
    except (UnicodeDecodeError, csv.Error) as error:
        msg = f"{path}: is no CSV table in UTF-8: {error}"
        raise InvalidManifest(msg) from error
    return table
