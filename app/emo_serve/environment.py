"""Environment variables of a group of settings."""

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import SettingsError

from emo_serve.faults import in_plain_words

PREFIX = "EMO_"
NESTED = "__"
"""Separator between the name of a group and that of a member."""
_LINK = re.compile(r"_SERVICE_HOST$|_SERVICE_PORT(_[A-Z0-9_]+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?$")
_OF_THE_CLIENT = "EMO_CLIENT_API_KEY"  # no setting, but commands that ask a server are run with it
_ADDRESS = re.compile(r"(tcp|udp|sctp)://")


def variables_of(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    """The variable and the declaration of every field of ``model``, each group before its members."""
    for name, field in model.model_fields.items():
        variable = f"{prefix}{name}".upper()
        yield variable, field
        if (group := group_of(field)) is not None:
            yield from variables_of(group, variable + NESTED)


def group_of(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a setting that is a group; None for a plain value."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def complaints(error: ValidationError | SettingsError, prefix: str, variables: Collection[str]) -> Iterator[str]:
    """Readable messages, one line for each of the ``variables`` at fault."""
    if isinstance(error, SettingsError):  # it names the field of a group whose text is no JSON, and nothing else does
        groups = [name for name in variables if f'"{name.removeprefix(prefix).lower()}"' in str(error)]
        yield from (_parts(name, variables) for name in groups) if groups else [str(error)]
        return
    for entry in error.errors():
        name = prefix + NESTED.join(part for part in entry["loc"] if isinstance(part, str)).upper()
        if entry["type"] == "model_type":
            yield _parts(name, variables)
        else:
            fault = in_plain_words(entry["msg"])
            yield f"{name}: {fault}" if entry["loc"] else fault


def _parts(group: str, variables: Collection[str]) -> str:
    parts = [name for name in variables if name.startswith(group + NESTED)]
    return f"{group}: its parts have variables of their own: {', '.join(parts)}"


def is_service_link(name: str, value: str, prefix: str) -> bool:
    """True if Kubernetes sets this variable in every pod, for a Service whose name begins with the ``prefix``.

    A Service ``emo-serve`` sets ``EMO_SERVE_SERVICE_HOST``, ``EMO_SERVE_SERVICE_PORT`` (and one for each named port),
    ``EMO_SERVE_PORT=tcp://10.0.0.1:80`` and ``EMO_SERVE_PORT_80_TCP``, ``…_ADDR``, ``…_PORT`` and ``…_PROTO``.
    """
    if not name.startswith(prefix):
        return False
    return bool(_LINK.search(f"_{name.removeprefix(prefix)}") or (name.endswith("_PORT") and _ADDRESS.match(value)))


def service_links(environment: Mapping[str, str], prefix: str) -> list[str]:
    """The variables with this prefix that Kubernetes has set for a Service, in order."""
    return sorted(name for name, value in environment.items() if is_service_link(name, value, prefix))


def unknown_names(environment: Mapping[str, str], prefix: str, valid: Collection[str]) -> Iterator[str]:
    """An error message for each variable with this prefix that is not in ``valid``, with the nearest valid name."""
    for name in sorted(environment):
        is_ours = name.upper().startswith(prefix) and not is_service_link(name, environment[name], prefix)
        if is_ours and name.upper() not in valid and name != _OF_THE_CLIENT:
            nearest = difflib.get_close_matches(name.upper(), valid, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else "`emo-serve settings` lists all"
            yield f"{name} is no setting; {hint}"


def given_values(
    values: Mapping[str, Any], environment: Mapping[str, str], prefix: str, valid: Collection[str]
) -> dict[str, Any]:
    """The values of settings without those of service links, and with the ``port`` that a platform says in ``PORT``.

    Raises ValueError for a variable that is none of the ``valid`` ones, and for a PORT that is none.
    """
    if unknown := list(unknown_names(environment, prefix, valid)):
        raise ValueError("; ".join(unknown))
    linked = {name.removeprefix(prefix).lower(): environment[name] for name in service_links(environment, prefix)}
    given = {name: value for name, value in values.items() if name not in linked or value != linked[name]}
    return _port_of_a_platform(environment) | given


def _port_of_a_platform(environment: Mapping[str, str]) -> dict[str, int]:
    port = environment.get("PORT", "")
    if not port:
        return {}
    if not port.isdecimal() or int(port[:9]) > 65535:
        msg = f"PORT = {port[:100]!r}: allowed is a whole number from 0 to 65535; EMO_PORT goes before it"
        raise ValueError(msg)
    return {"port": int(port)}
