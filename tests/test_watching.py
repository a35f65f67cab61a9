"""Dashboard, alerts and runbook fit the server and each other; `make watch-test` tries them with a real Prometheus."""

import re
from collections import Counter
from typing import Any

import pytest
import yaml

from emo_serve.metrics.definitions import Metrics
from emo_serve.metrics.process import SupervisorMetrics
from tests.watch.dashboard import ALERTS, ROOT, alerts, dashboard, metrics_of, panels, rules, variables, variables_of

PARTS = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
RUNBOOK = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
ALERT_TESTS = yaml.safe_load((ROOT / "docker/test/alerts_test.yml").read_text(encoding="utf-8"))["tests"]


def declared() -> set[str]:
    """The name of every series that the server can give."""
    return {
        metric.name + part
        for metrics in (Metrics(), SupervisorMetrics())
        for metric in metrics.registry.collect()
        for part in PARTS[metric.type]
    }


def sections() -> set[str]:
    """The anchors of the runbook's sections."""
    return {title.lower() for title in re.findall(r"^## (\w+)$", RUNBOOK, flags=re.MULTILINE)}


def test_the_dashboard_asks_only_for_metrics_that_the_server_has() -> None:
    asked = {name for panel in panels() for query in panel.queries for name in metrics_of(query.expression)}
    assert asked - declared() == set()


def test_the_dashboard_shows_every_metric_of_the_server() -> None:
    asked = {name for panel in panels() for query in panel.queries for name in metrics_of(query.expression)}
    own = {metric.name for kind in (Metrics, SupervisorMetrics) for metric in kind().registry.collect()}
    unseen = {name for name in own if name.startswith("emo_") and not any(word.startswith(name) for word in asked)}
    assert unseen == set()


def test_the_dashboard_uses_only_variables_that_it_declares_or_grafana_knows() -> None:
    used = {name for panel in panels() for query in panel.queries for name in variables_of(query.expression)}
    assert used <= variables() | {"__rate_interval"}


def test_panels_have_names_of_their_own_and_do_not_overlap() -> None:
    titles = Counter(panel.title for panel in panels())
    assert [title for title, count in titles.items() if count > 1] == []
    taken: Counter[tuple[int, int]] = Counter()
    for panel in panels():
        place = panel.place
        assert place["x"] + place["w"] <= 24
        taken.update((place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"]))
    assert max(taken.values()) == 1
    assert len({panel["id"] for panel in dashboard()["panels"]}) == len(list(panels()))


def test_rules_ask_only_for_metrics_that_the_server_has_or_they_record() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    asked = {name for rule in rules() for name in metrics_of(rule["expr"])}
    assert asked - declared() - recorded == set()
    assert recorded - asked == set()


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_says_how_bad_it_is_what_is_wrong_and_where_to_read_on(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"]["summary"].endswith(".")
    page, _, section = alert["annotations"]["runbook_url"].partition("#")
    assert page == "docs/runbook.md"
    assert section == alert["alert"].lower()
    assert section in sections()


def test_the_runbook_has_no_section_without_an_alert() -> None:
    assert sections() == {alert["alert"].lower() for alert in alerts()}


@pytest.mark.parametrize("page", ["docs/runbook.md", "docs/operations.md", "docs/tutorials/replicas.md"])
def test_a_page_names_only_panels_and_filters_that_exist(page: str) -> None:
    named = set(re.findall(r"(?<!\*)\*([A-Z][\w ]+)\*(?!\*)", (ROOT / page).read_text(encoding="utf-8")))
    assert named
    filters = {entry["label"] for entry in dashboard()["templating"]["list"]}
    assert named - {panel.title for panel in panels()} - filters == set()


@pytest.mark.parametrize("alert", [alert["alert"] for alert in alerts()])
def test_an_alert_is_tried_both_where_it_fires_and_where_it_stays_quiet(alert: str) -> None:
    tries = [entry for test in ALERT_TESTS for entry in test["alert_rule_test"] if entry["alertname"] == alert]
    assert 0 < sum(bool(entry.get("exp_alerts")) for entry in tries) < len(tries)


def test_prometheus_loads_the_alerts_that_lie_beside_its_configuration() -> None:
    config = yaml.safe_load((ROOT / "docker/prometheus.yml").read_text(encoding="utf-8"))
    assert config["rule_files"] == [ALERTS.name]


def test_grafana_is_told_of_the_dashboard_and_of_prometheus() -> None:
    folder = ROOT / "docker/grafana/provisioning"
    (source,) = yaml.safe_load((folder / "datasources/prometheus.yml").read_text(encoding="utf-8"))["datasources"]
    (variable,) = (entry for entry in dashboard()["templating"]["list"] if entry["type"] == "datasource")
    assert variable["current"]["value"] == source["uid"]
    assert variable["query"] == source["type"]
    scrape_interval = yaml.safe_load((ROOT / "docker/prometheus.yml").read_text(encoding="utf-8"))["global"]
    assert source["jsonData"]["timeInterval"] == scrape_interval["scrape_interval"]
    (provider,) = yaml.safe_load((folder / "dashboards/emo-serve.yml").read_text(encoding="utf-8"))["providers"]
    assert provider["type"] == "file"
