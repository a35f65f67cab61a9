"""Documentation generated from the code: settings, the HTTP interface, the client. ``--check`` only compares.

`make reference` writes it into pages of the repository, where it is read as well as on the site.
"""

import ast
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from emo_serve.environment import NESTED, group_of
from emo_serve.main import create_app
from emo_serve.settings import Settings, all_settings

ROOT = Path(__file__).parents[1]
Schema = Mapping[str, Any]


def settings(page: str) -> str:
    """docs/settings.md with a row for each setting."""
    return re.sub(r"^\| `EMO_.*\Z", "\n".join(_settings_rows()) + "\n", page, flags=re.MULTILINE | re.DOTALL)


def _settings_rows() -> Iterator[str]:
    for variable, field in all_settings():
        if group_of(field) is not None:
            yield f"| `{variable}` | | {field.description} All `{variable}{NESTED}*` at once, as one JSON object. |"
        else:
            default = "unset" if field.default is None else f"`{field.default}`"
            yield f"| `{variable}` | {default} | {field.description} |"


def http(_: str) -> str:
    """The page about every route and every answer, from the server's own OpenAPI document."""
    document = create_app(Settings(models=ROOT / "models")).openapi()
    return "\n".join(_http_lines(document)) + "\n"


def _http_lines(document: Schema) -> Iterator[str]:
    yield from (
        "# Routes and answers",
        "",
        "From the OpenAPI document of the server (`GET /openapi.json`), by `make reference`. How to use it is told in",
        "[The HTTP interface](../api.md).",
        "",
        "## Routes",
    )
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield from ("", f"### {method.upper()} {path}", "", _plain(operation["description"]))
            yield from _parameters(operation.get("parameters", []))
            yield from ("", "| status | |", "|---|---|")
            for status, response in operation["responses"].items():
                types = ", ".join(f"`{name}`" for name in response["content"]) if status == "200" else ""
                yield f"| {status} | {response['description'].rstrip('.')}{f'; as {types}' if types else ''} |"
    yield from ("", "## Answers")
    for name, schema in document["components"]["schemas"].items():
        yield from ("", f"### {name}", "", schema["description"], "", "| member | type | |", "|---|---|---|")
        for member, value in schema["properties"].items():
            optional = "" if member in schema["required"] else ", may be missing"
            yield f"| `{member}` | {_type(value)}{optional} | {value.get('description', '')} |"


def _parameters(parameters: list[Schema]) -> Iterator[str]:
    if parameters:
        yield from ("", "| parameter | in | type | default | |", "|---|---|---|---|---|")
    for entry in parameters:
        schema = entry["schema"]
        value = schema.get("default")
        default = "" if value is None else "`" + json.dumps(value).strip('"') + "`"
        place, meaning = entry["in"], entry.get("description", "")
        yield f"| `{entry['name']}` | {place} | {_type(schema)} | {default} | {meaning} |"


def _type(schema: Schema) -> str:
    """A type in words: ``integer, 1 to 1000``."""
    kinds = [kind for kind in schema.get("anyOf", [schema]) if kind.get("type") != "null"]
    return " or ".join(_one_type(kind) for kind in kinds)


def _one_type(schema: Schema) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "prefixItems" in schema:
        return f"{len(schema['prefixItems'])} of {_type(schema['prefixItems'][0])}"
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    low, high = (schema.get(name) for name in ("minimum", "maximum"))
    bounds = f", {low:g} to {high:g}" if high is not None else f", at least {low:g}" if low is not None else ""
    return str(schema.get("type", "anything")) + bounds


def client(_: str) -> str:
    """The page about the client's classes, from their docstrings."""
    return "\n".join(_client_lines()) + "\n"


def _client_lines() -> Iterator[str]:
    yield from (
        "# The client's classes",
        "",
        "From the docstrings of `emo_client`, by `make reference`. `AsyncClient` has the methods of `Client`, to be",
        "awaited. [The client](../../client/README.md) says how to begin.",
    )
    for name in ("client", "errors", "results"):
        module = ast.parse((ROOT / "client" / "emo_client" / f"{name}.py").read_text(encoding="utf-8"))
        for node in module.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield from ("", f"## {node.name}", "", _said(node))
                yield from _members(node)


def _members(owner: ast.ClassDef) -> Iterator[str]:
    """Fields, how it is made, and methods."""
    fields = [ast.unparse(node) for node in owner.body if isinstance(node, ast.AnnAssign)]
    if fields:
        yield from ("", "```text", *fields, "```")
    for node in owner.body:
        if isinstance(node, ast.FunctionDef) and "overload" not in _decorators(node):
            if node.name == "__init__":
                yield from ("", "```text", _signature(owner.name, node), "```", "", _said(node))
            elif not node.name.startswith("_"):
                title = f"{owner.name}.{node.name}"
                yield from ("", f"### {title}", "", "```text", _signature(title, node), "```", "", _said(node))


def _decorators(node: ast.FunctionDef) -> set[str]:
    return {ast.unparse(decorator) for decorator in node.decorator_list}


def _signature(title: str, node: ast.FunctionDef) -> str:
    node.args.args = node.args.args[1:]  # without self
    arguments = "" if "property" in _decorators(node) else f"({ast.unparse(node.args)})"
    returns = ast.unparse(node.returns).strip("'") if node.returns else "None"
    return f"{title}{arguments}" if node.name == "__init__" else f"{title}{arguments} -> {returns}"


def _said(node: ast.ClassDef | ast.FunctionDef) -> str:
    return _plain(ast.get_docstring(node) or "")


def _plain(docstring: str) -> str:
    return docstring.replace("``", "`")


PAGES: Mapping[str, Callable[[str], str]] = {
    "docs/settings.md": settings,
    "docs/reference/http.md": http,
    "docs/reference/client.md": client,
}


def main(*, check: bool) -> int:
    """Write the pages, or say which ones the code has left behind; the exit status."""
    stale = []
    for name, generated in PAGES.items():
        page = ROOT / name
        before = page.read_text(encoding="utf-8") if page.exists() else ""
        now = generated(before)
        if check and now != before:
            stale.append(name)
        elif now != before:
            page.write_text(now, encoding="utf-8")
    if stale:
        sys.stderr.write(f"{', '.join(stale)}: not what the code says; make reference\n")
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
