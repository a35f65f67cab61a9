"""The environment variables that a group of settings reads."""

import difflib
import re
from collections.abc import Collection, Iterator, Mapping

from pydantic import BaseModel
from pydantic.fields import FieldInfo

NESTED = "__"
"""Between the name of a group and that of a part."""
_LINK = re.compile(r"_SERVICE_HOST$|_SERVICE_PORT(_[A-Z0-9_]+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?$")
_ADDRESS = re.compile(r"(tcp|udp|sctp)://")


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


def is_service_link(name: str, value: str, prefix: str) -> bool:
    """Whether Kubernetes sets this variable in every pod where a Service is called as the ``prefix`` begins.

    A Service ``emo-serve`` sets ``EMO_SERVE_SERVICE_HOST``, ``EMO_SERVE_SERVICE_PORT`` (and ``_HTTP``, as its ports are
    called), ``EMO_SERVE_PORT=tcp://10.0.0.1:80`` and ``EMO_SERVE_PORT_80_TCP``, ``…_ADDR``, ``…_PORT`` and ``…_PROTO``.
    """
    if not name.startswith(prefix):
        return False
    return bool(_LINK.search(f"_{name.removeprefix(prefix)}") or (name.endswith("_PORT") and _ADDRESS.match(value)))


def unknown_names(environment: Mapping[str, str], prefix: str, valid: Collection[str]) -> Iterator[str]:
    """One complaint for each variable with this prefix that is none of ``valid``, with the nearest one that is."""
    for name in sorted(environment):
        is_ours = name.upper().startswith(prefix) and not is_service_link(name, environment[name], prefix)
        if is_ours and name.upper() not in valid:
            nearest = difflib.get_close_matches(name.upper(), valid, n=1, cutoff=0)
            yield f"{name} is no setting; did you mean {nearest[0]}?"
