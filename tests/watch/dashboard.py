"""Queries of the Grafana dashboard and of the alerts."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "docker/grafana/dashboards/emo-serve.json"
ALERTS = ROOT / "docker/alerts.yml"

_WORD = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")
_VARIABLE = re.compile(r"\$(\w+)")
_IN_QUOTES_OR_BRACKETS = re.compile(r'"[^"]*"|\[[^]]*\]')


@dataclass(frozen=True, slots=True)
class Query:
    """One question of a panel."""

    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel, or the title of a row of them (``kind`` is then ``row``)."""

    title: str
    kind: str
    description: str
    unit: str
    stacked: bool
    place: Mapping[str, int]  # x, y, w, h; 24 units are the whole width
    queries: tuple[Query, ...]


def dashboard() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return document


def panels() -> Iterator[Panel]:
    for panel in dashboard()["panels"]:
        defaults = panel.get("fieldConfig", {}).get("defaults", {})
        yield Panel(
            title=panel["title"],
            kind=panel["type"],
            description=panel.get("description", ""),
            unit=defaults.get("unit", "none"),
            stacked=defaults.get("custom", {}).get("stacking", {}).get("mode") == "normal",
            place=panel["gridPos"],
            queries=tuple(Query(target["expr"], target["legendFormat"]) for target in panel.get("targets", [])),
        )


def variables() -> set[str]:
    """The names of the variables that the dashboard declares."""
    return {variable["name"] for variable in dashboard()["templating"]["list"]}


def variables_of(expression: str) -> set[str]:
    return set(_VARIABLE.findall(expression))


def filled(expression: str, values: Mapping[str, str]) -> str:
    """The expression with a value for each ``$variable``; raises KeyError for one that has none."""
    return _VARIABLE.sub(lambda match: values[match[1]], expression)


def metrics_of(expression: str) -> set[str]:
    """The series that an expression asks for: of the server, of its process, or of a recording rule."""
    words = _WORD.findall(_IN_QUOTES_OR_BRACKETS.sub("", expression))
    return {word for word in words if word.startswith(("emo_", "process_", "python_")) or ":" in word}


def rules() -> list[dict[str, Any]]:
    """All rules of docker/alerts.yml: those that record and those that alert."""
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]
