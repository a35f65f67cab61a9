"""Broad groups of classes: a CSV table of names -> the group of each class of a model."""

import csv
from collections.abc import Sequence
from pathlib import Path

from emo_serve.errors import InvalidManifest

_NAMED = 5  # of the classes without a group


def read_groups(path: Path, labels: Sequence[str]) -> tuple[str, ...]:
    """The group of each of the ``labels``, in their order, from a table as ``read_group_table`` reads it.

    The table may know more classes. Raise InvalidManifest where it is unreadable or knows one of these not.
    """
    table = read_group_table(path)
    unknown = [label for label in labels if label not in table]
    if unknown:
        first = ", ".join(map(repr, unknown[:_NAMED])) + (", …" if len(unknown) > _NAMED else "")
        msg = f"{path}: has no group for {len(unknown)} of the {len(labels)} classes: {first}"
        raise InvalidManifest(msg)
    return tuple(table[label] for label in labels)


def read_group_table(path: Path) -> dict[str, str]:
    """Class name -> group, from the columns ``name`` and ``group`` of a CSV file; other columns are passed over.

    Raise InvalidManifest, which names the line, where it is unreadable, or a class is there twice.
    """
    table: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets begin it with a byte order mark
            rows = csv.DictReader(file, strict=True)
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
