"""Answer cache: a file of answers, so that a killed command resumes where it stopped.

JSON lines: first a header with the model and the pictures, then one answer each.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from emo.evaluation.answers import Answer
from emo.evaluation.evaluated_model import Description, query_for
from emo.evaluation.images import PictureFile

_MEANING = {
    "model": "another model",
    "input": "another way of preparing pictures",
    "asked": "other parameters",
    "data": "other pictures",
}


def header_of(description: Description, pictures: Iterable[PictureFile]) -> dict[str, Any]:
    """Everything that answers depend on: the model's files, its input, the parameters, and the pictures.

    Pictures are identified by their names and sizes.
    """
    names = "\n".join(f"{file.key} {file.path.stat().st_size}" for file in pictures)
    return {
        "model": description.digest,
        "input": description.rule.model_dump(mode="json"),
        "asked": query_for(description),
        "data": hashlib.sha256(names.encode()).hexdigest(),
    }


class AnswerCache:
    """Answers by the key of their picture, written to disk as soon as they are added."""

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        """Create a file, or resume one with the same ``header``; raise ValueError if its header differs."""
        self.path = path
        self.answers: dict[str, Answer] = {}
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        if lines and not lines[-1].endswith(b"\n") and (lines[1:] or _line(header).startswith(lines[0])):
            lines.pop()  # it was truncated
        if lines:
            self._read(lines, header)
        else:
            lines = [_line(header)]
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._file.write(b"".join(lines))
        self._file.truncate()
        self._file.flush()

    def _read(self, lines: list[bytes], header: dict[str, Any]) -> None:
        try:
            found, *rest = map(json.loads, lines)
            differences = [meaning for key, meaning in _MEANING.items() if found.get(key) != header[key]]
            if not differences:
                self.answers = {entry.pop("picture"): Answer(**entry) for entry in rest}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            msg = f"{self.path} holds no answers of an evaluation; choose another file"
            raise ValueError(msg) from error
        if differences:
            msg = f"{self.path} holds answers of another evaluation ({', '.join(differences)}); choose another file"
            raise ValueError(msg)

    def add(self, key: str, answer: Answer) -> None:
        """Add an answer."""
        self.answers[key] = answer
        given = {name: value for name, value in asdict(answer).items() if value is not None}
        self._file.write(_line({"picture": key, **given}))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
