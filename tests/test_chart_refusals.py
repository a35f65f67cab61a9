"""What the Helm chart refuses: values that mean nothing, and values that do not go together."""

import json
import re
from typing import Any

import pytest

from emo_serve.settings import Settings
from tests.charts import CHART, given, needs_helm, rendered, template

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))


def value_schema(path: str) -> dict[str, Any]:
    """What is allowed of a value with this dotted name; `items`: of the members of a list."""
    schema = SCHEMA
    for name in path.split("."):
        schema = schema["items"] if name == "items" else schema["properties"][name]
    return schema


@pytest.mark.parametrize(
    ("path", "allowed", "refused"),
    [
        ("podDisruptionBudget.maxUnavailable", ["1%", "25%", "100%"], ["soon", "0%", "101%", "-5%", "1", ""]),
        ("autoscaling.queueAgeSeconds", ["0.5", "1", "10", "0.05", "2.0"], ["0", "0.0", "00", ".5", "-1", "1s", ""]),
        ("networkPolicy.cidrs.items", ["0.0.0.0/0", "2001:db8::/32"], ["everybody", "192.0.2.1", ""]),
    ],
)
def test_a_text_that_means_nothing_is_refused(path: str, allowed: list[str], refused: list[str]) -> None:
    pattern = value_schema(path)["pattern"]
    assert [text for text in allowed + refused if re.search(pattern, text)] == allowed


def test_a_budget_lets_at_least_one_pod_go() -> None:
    assert value_schema("podDisruptionBudget.maxUnavailable")["minimum"] == 1


@needs_helm
@pytest.mark.parametrize(
    ("values", "named"),
    [
        ("replica=3", "replica"),
        ("models.source=claim", "models/claim"),
        ("models.source=oci", "models/oci/reference"),
        ("models.source=init", "models/init/image"),
        ("settings.EMO_WORKERS=2", "settings/EMO_WORKERS"),
        ("settings.EMO_ADMIN_TOKEN=secret-in-values", "EMO_ADMIN_TOKEN"),
        ("settings.emo_workers=x", "emo_workers"),
        ("admin.port=8000", "admin/port"),
        ("autoscaling.kind=cpu", "autoscaling/kind"),
        ("image.digest=sha256:abc", "image/digest"),
        ("podDisruptionBudget.maxUnavailable=soon", "podDisruptionBudget/maxUnavailable"),
        ("podDisruptionBudget.maxUnavailable=0", "podDisruptionBudget/maxUnavailable"),
        ("podDisruptionBudget.maxUnavailable=-1", "podDisruptionBudget/maxUnavailable"),
        ("autoscaling.queueAgeSeconds=0", "autoscaling/queueAgeSeconds"),
        ("networkPolicy.cidrs={everybody}", "networkPolicy/cidrs"),
    ],
)
def test_a_wrong_value_is_named(values: str, named: str) -> None:
    done = template("--set", values)
    assert done.returncode != 0
    assert named in done.stderr.replace(".", "/")  # before Helm 3.18 with dots


def refusal(*values: str) -> str:
    """What Helm says to values that it refuses."""
    done = template(*given(*values))
    assert done.returncode != 0
    return done.stderr


MONITORED = "serviceMonitor.enabled=true"


@needs_helm
@pytest.mark.parametrize(
    ("values", "named"),
    [
        (
            ["autoscaling.minReplicas=12", "autoscaling.maxReplicas=3"],
            ["autoscaling.minReplicas is 12", "maxReplicas 3"],
        ),
        (["autoscaling.kind=hpa"], ["autoscaling.kind is hpa", "serviceMonitor.enabled true"]),
        (["autoscaling.kind=keda"], ["autoscaling.kind is keda", "serviceMonitor.enabled true"]),
        (["apiKeys.secret=keys", MONITORED], ["apiKeys.secret", "serviceMonitor.apiKey.secret"]),
        (
            ["service.type=LoadBalancer"],
            ["type is LoadBalancer", "networkPolicy.cidrs", "networkPolicy.enabled"],
        ),
        (["service.type=NodePort"], ["service.type is NodePort", "networkPolicy.cidrs", "networkPolicy.enabled"]),
        (
            ["settings.EMO_DRAIN_DELAY_SECONDS=600"],
            ["terminationGracePeriodSeconds is 60", "EMO_DRAIN_DELAY_SECONDS 600", "EMO_DRAIN_SECONDS 20", "640"],
        ),
        (["settings.EMO_DRAIN_SECONDS=30"], ["terminationGracePeriodSeconds is 60", "EMO_DRAIN_SECONDS 30", "65"]),
        (["settings.EMO_AGENT_PORT=8000"], ["EMO_AGENT_PORT is 8000", "1 to 65535 other than 8000"]),
        (["settings.EMO_AGENT_PORT=0"], ["EMO_AGENT_PORT is 0", "1 to 65535"]),
        (["settings.EMO_AGENT_PORT=65536"], ["EMO_AGENT_PORT is 65536", "1 to 65535"]),
        (["settings.EMO_AGENT_PORT=8001", "admin.secret=admin"], ["EMO_AGENT_PORT and admin.port are both 8001"]),
        (["settings.EMO_GRPC_PORT=9000"], ["settings.EMO_GRPC_PORT", "leave it out"]),
    ],
)
def test_values_that_do_not_go_together_are_named_with_what_is_allowed(values: list[str], named: list[str]) -> None:
    said = refusal(*values)
    assert [words for words in named if words not in said] == []


@needs_helm
def test_all_values_that_do_not_go_together_are_named_at_once() -> None:
    said = refusal("autoscaling.kind=hpa", "service.type=NodePort")
    assert "autoscaling.kind" in said
    assert "service.type" in said


@needs_helm
@pytest.mark.parametrize(
    "values",
    [
        ["autoscaling.minReplicas=3", "autoscaling.maxReplicas=3"],
        ["apiKeys.secret=keys"],
        ["service.type=LoadBalancer", "networkPolicy.enabled=false"],
        ["settings.EMO_DRAIN_SECONDS=25", "settings.EMO_DRAIN_DELAY_SECONDS=10"],
        ["settings.EMO_AGENT_PORT=8001"],
    ],
)
def test_values_at_the_limit_are_allowed(values: list[str]) -> None:
    rendered(*given(*values))


@needs_helm
def test_a_pod_has_the_time_that_the_server_takes_unless_told_otherwise() -> None:
    seconds = int(Settings().drain_delay_seconds + 2 * Settings().drain_seconds)
    unset = ["--set-string", "settings.EMO_DRAIN_DELAY_SECONDS="]
    assert template(*unset, "--set", f"terminationGracePeriodSeconds={seconds}").returncode == 0
    assert template(*unset, "--set", f"terminationGracePeriodSeconds={seconds - 1}").returncode != 0
