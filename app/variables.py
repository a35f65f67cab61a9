"""The environment variables that a group of settings reads."""

import difflib
from collections.abc import Collection, Iterator, Mapping

from pydantic import BaseModel
from pydantic.fields import FieldInfo

NESTED = "__"
"""Between the name of a group and that of a part."""


def variables_of(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    """The variable of every field of ``model`` and what is declared about it, each group before its parts."""
    for name, field in model.model_fields.items():
        variable = f"{prefix}{name}".upper()
        yield variable, field
        if (group := group_of(field)) is not None:
            yield from variables_of(group, variable + NESTED)


def group_of(field: FieldInfo) -> type[BaseModel] | None:
    """What a setting that has parts consists of; None for one that is a plain value."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def unknown_names(environment: Mapping[str, str], prefix: str, valid: Collection[str]) -> Iterator[str]:
    """One complaint for each variable with this prefix that is none of ``valid``, with the nearest one that is."""
    for name in sorted(environment):
        if name.upper().startswith(prefix) and name.upper() not in valid:
            nearest = difflib.get_close_matches(name.upper(), valid, n=1, cutoff=0)
            yield f"{name} is no setting; did you mean {nearest[0]}?"
