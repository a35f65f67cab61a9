"""The labels file of a model: the names of its classes, and how requests name them."""

from collections import Counter
from pathlib import Path

from emo_serve.errors import InvalidManifest, InvalidParameter
from emo_serve.files import read_regular

MAX_LABELS_BYTES = 4 * 1024 * 1024
"""All 21,841 classes of ImageNet with all their synonyms take 1 MB."""
_MOST_NAMES = 1000


def read_labels(path: Path) -> tuple[str, ...]:
    """Class names, one a line, line i for class i; raises InvalidManifest if unreadable or not unique."""
    try:
        text = read_regular(path, MAX_LABELS_BYTES).decode("utf-8")
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise InvalidManifest(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{path}: is not UTF-8: {error}"
        raise InvalidManifest(msg) from error
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    labels = tuple(text.removesuffix("\n").split("\n"))  # not splitlines(), which also splits names at U+2028
    for number, label in enumerate(labels, start=1):
        if not label or label != label.strip() or not label.isprintable():
            msg = f"{path}: line {number} is empty, padded or unprintable; each line must be one class name"
            raise InvalidManifest(msg)
    if len(set(labels)) != len(labels):
        twice, _ = Counter(labels).most_common(1)[0]
        msg = f"{path}: {twice!r} occurs twice; class names must be unique"
        raise InvalidManifest(msg)
    return labels


def class_names(values: list[str] | None, labels: tuple[str, ...], called: str = "classes") -> tuple[str, ...] | None:
    """The class names of a parameter, ``called`` so; a value that is no name itself is taken apart at its commas.

    Raises InvalidParameter, which names the classes that are there.
    """
    if values is None:
        return None
    known, most = frozenset(labels), max(len(labels), _MOST_NAMES)
    if sum(value.count(",") for value in values if value not in known) >= most:
        msg = f"{called} has too many names: allowed are {most}."
        raise InvalidParameter(msg)
    names: list[str] = []
    for value in values:
        names += [value] if value in known else [name.strip() for name in value.split(",")]
    unknown = [name for name in names if name not in known]
    if unknown:
        msg = f"{called} = {unknown[0][:100]!r}: allowed are the labels of the model: {', '.join(labels)}."
        raise InvalidParameter(msg)
    return tuple(dict.fromkeys(names))
